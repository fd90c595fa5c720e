-- What the HTTP interface needs: repeated requests answered once, contact files, opt-outs by answer.

-- A request that must not take effect twice: reserved before its effect, answered from here when it comes again.
-- status NULL: the first request runs, or was cut off before its answer was stored.
CREATE TABLE idempotency (
    tenant_id      integer NOT NULL,
    key            text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    route          text NOT NULL,
    body_hash      bytea NOT NULL CHECK (length(body_hash) = 32),
    attempt        integer NOT NULL DEFAULT 1,    -- a take-over of an abandoned reservation is another attempt
    status         smallint,
    body           bytea,
    created_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, key)
);
CREATE INDEX idempotency_old ON idempotency (created_at);

-- A contact file: its rows lie in a spool on the disk of the node that took it (`spool` names that directory).
CREATE TABLE contact_import (
    tenant_id      integer NOT NULL REFERENCES tenant,
    import_id      bigint GENERATED ALWAYS AS IDENTITY,
    status         text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'running', 'completed', 'failed')),
    spool          text NOT NULL,
    spool_file     text NOT NULL,
    file_name      text NOT NULL,
    rows_done      integer NOT NULL DEFAULT 0,    -- the importer's place: rows of the file that are committed
    created        integer NOT NULL DEFAULT 0,
    updated        integer NOT NULL DEFAULT 0,
    refused        integer NOT NULL DEFAULT 0,
    reason         text,                          -- why it failed
    fence          integer NOT NULL DEFAULT 0,
    owner          text,
    lease_until    timestamptz,
    created_at     timestamptz NOT NULL DEFAULT now(),
    started_at     timestamptz,
    finished_at    timestamptz,
    PRIMARY KEY (tenant_id, import_id)
) WITH (fillfactor = 70);
CREATE INDEX contact_import_open ON contact_import (spool) WHERE status IN ('pending', 'running');

CREATE TABLE contact_import_error (
    tenant_id      integer NOT NULL,
    import_id      bigint NOT NULL,
    row_number     integer NOT NULL,              -- the line's place in the file, the header being 1
    field          text NOT NULL,
    code           text NOT NULL,
    message        text NOT NULL,
    PRIMARY KEY (tenant_id, import_id, row_number)
);

-- Who wrote to a phone: an answer (STOP) names a number, not a store.
CREATE INDEX direct_of_phone ON direct (tenant_id, phone);
