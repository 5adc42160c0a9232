-- Where the log of a project begins: an id may be used again once its project is removed.
CREATE INDEX audit_creations ON audit (project, number) WHERE act = 'project.create';
