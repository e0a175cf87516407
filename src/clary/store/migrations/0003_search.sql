-- What searches find jobs by, besides the columns of training_job: a job's tags, hyperparameters and metrics, and a few
-- members. A value is filed as a number or as (the beginning of) a text.
CREATE TABLE search_value (
    id       INTEGER NOT NULL,
    property TEXT    NOT NULL,
    number   REAL,
    text     TEXT,
    PRIMARY KEY (id, property)
) WITHOUT ROWID;

-- Both carry the id, in order, so that pages sorted by a property can go on behind any job.
CREATE INDEX search_value_by_number ON search_value (property, number) WHERE number IS NOT NULL;
CREATE INDEX search_value_by_text ON search_value (property, text) WHERE text IS NOT NULL;

-- Whoever deletes a job need not know of this: another job may get its id.
CREATE TRIGGER search_value_forgets AFTER DELETE ON training_job
BEGIN
    DELETE FROM search_value WHERE id = old.id;
END;

-- Jobs that were written since they were last filed, in order of writing; a job may stand here several times. To append to
-- it is all that a write costs; jobs are filed many at a time, at leisure and before a search.
CREATE TABLE search_backlog (
    number INTEGER PRIMARY KEY,
    id     INTEGER NOT NULL
);
INSERT INTO search_backlog (id) SELECT id FROM training_job;
