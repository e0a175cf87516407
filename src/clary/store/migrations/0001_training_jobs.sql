-- What lists and guards look at, apart from the documents: a page of a list then touches a few small rows.
CREATE TABLE training_job (
    id                 INTEGER PRIMARY KEY,
    training_job_name  TEXT    NOT NULL,
    training_job_arn   TEXT    NOT NULL,
    creation_time      INTEGER NOT NULL,
    last_modified_time INTEGER NOT NULL,
    training_end_time  INTEGER,
    status             TEXT    NOT NULL,
    secondary_status   TEXT    NOT NULL,
    released           INTEGER NOT NULL,
    version            INTEGER NOT NULL
);

-- The whole job as JSON.
CREATE TABLE training_job_document (
    id       INTEGER PRIMARY KEY REFERENCES training_job (id),
    document BLOB NOT NULL
);

-- Names are ASCII, so NOCASE tells exactly the names apart that differ in more than letter case.
CREATE UNIQUE INDEX training_job_by_any_case ON training_job (training_job_name COLLATE NOCASE);

-- One index for each order of a list, with and without a status. Each carries the name, so that NameContains is decided
-- without the row; creation_time never changes, so that carrying it costs nothing later.
CREATE INDEX training_job_by_name ON training_job (training_job_name, creation_time);
CREATE INDEX training_job_by_creation ON training_job (creation_time, training_job_name);
CREATE INDEX training_job_by_status_name ON training_job (status, training_job_name, creation_time);
CREATE INDEX training_job_by_status_creation ON training_job (status, creation_time, training_job_name);

-- For filters on LastModifiedTime that leave few jobs: everything that the other filters ask for.
CREATE INDEX training_job_by_modification
    ON training_job (last_modified_time, training_job_name, creation_time, status);

-- What the controller still has to look at: its size does not grow with the number of finished jobs.
CREATE INDEX training_job_unreleased ON training_job (creation_time, training_job_name) WHERE released = 0;
