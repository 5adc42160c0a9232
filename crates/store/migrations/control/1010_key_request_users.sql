-- Which user of the operating system asked, where it was one: the second word is another one's.
ALTER TABLE key_requests ADD COLUMN asked_from TEXT NOT NULL DEFAULT '';
