-- One notice of a kind, project and subject until it is resolved, also when two processes raise it at the same moment.
CREATE UNIQUE INDEX notices_unresolved ON notices (kind, project, subject) WHERE state <> 'resolved';
