-- What lists look at, with what they show.
CREATE TABLE algorithm (
    id                    INTEGER PRIMARY KEY,
    algorithm_name        TEXT    NOT NULL,
    algorithm_arn         TEXT    NOT NULL,
    algorithm_description TEXT,
    creation_time         INTEGER NOT NULL,
    status                TEXT    NOT NULL,
    version               INTEGER NOT NULL
);

-- The whole algorithm as JSON.
CREATE TABLE algorithm_document (
    id       INTEGER PRIMARY KEY REFERENCES algorithm (id),
    document BLOB NOT NULL
);

-- Names are ASCII, so NOCASE tells exactly the names apart that differ in more than letter case.
CREATE UNIQUE INDEX algorithm_by_any_case ON algorithm (algorithm_name COLLATE NOCASE);

-- One index for each order of a list; each carries what the filters ask for.
CREATE INDEX algorithm_by_name ON algorithm (algorithm_name, creation_time);
CREATE INDEX algorithm_by_creation ON algorithm (creation_time, algorithm_name);
