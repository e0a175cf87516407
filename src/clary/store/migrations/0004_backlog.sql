-- Whoever writes a job's document need not know that it is to be filed again; nor does it cost a statement of its own.
CREATE TRIGGER search_backlog_of_new AFTER INSERT ON training_job_document
BEGIN
    INSERT INTO search_backlog (id) VALUES (new.id);
END;

CREATE TRIGGER search_backlog_of_changed AFTER UPDATE ON training_job_document
BEGIN
    INSERT INTO search_backlog (id) VALUES (new.id);
END;
