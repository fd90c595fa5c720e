-- The path of a campaign: tenants, contacts, wallets, campaigns, messages, batches, deliveries, delivery reports.
--
-- Every key starts with the tenant, or the table is a small reference table (looked up before the tenant is known).
-- Phones are the E.164 digits as bigint; money is integer credits; times are timestamptz.

-- ---------------------------------------------------------------- tenants and who may act for them

CREATE TABLE tenant (
    tenant_id      integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name           text NOT NULL,
    country        text NOT NULL DEFAULT 'GR' CHECK (country ~ '^[A-Z]{2}$'),
    timezone       text NOT NULL DEFAULT 'Europe/Athens',
    sender         text,
    -- What happens to a message whose outcome stays uncertain (architecture, "Recover").
    unknown_policy text NOT NULL DEFAULT 'at_most_once'
                   CHECK (unknown_policy IN ('at_most_once', 'resend_if_silent', 'at_least_once')),
    refund_failed  boolean NOT NULL DEFAULT false,
    created_at     timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE app_user (
    tenant_id      integer NOT NULL REFERENCES tenant,
    user_id        bigint GENERATED ALWAYS AS IDENTITY,
    email          text NOT NULL,
    password_hash  text NOT NULL,
    role           text NOT NULL DEFAULT 'owner' CHECK (role IN ('owner', 'manager', 'viewer')),
    created_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, user_id)
);

-- Reference table: a login names an e-mail before anything is known of its tenant.
CREATE TABLE login_email (
    email          text PRIMARY KEY CHECK (email = lower(email)),
    tenant_id      integer NOT NULL,
    user_id        bigint NOT NULL
);

-- Reference table: a request names a key before anything is known of its tenant. tenant_id NULL: an operator's key.
CREATE TABLE api_key (
    key_hash       bytea PRIMARY KEY CHECK (length(key_hash) = 32),
    key_id         bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    tenant_id      integer REFERENCES tenant,
    prefix         text NOT NULL,
    name           text NOT NULL DEFAULT '',
    scopes         text[] NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    expires_at     timestamptz,
    revoked_at     timestamptz
);

-- ---------------------------------------------------------------- contacts and consent

CREATE TABLE contact (
    tenant_id      integer NOT NULL,
    contact_id     bigint GENERATED ALWAYS AS IDENTITY,
    phone          bigint NOT NULL CHECK (phone > 0),
    birthday       date,
    country        text NOT NULL,
    first_name     text NOT NULL DEFAULT '',
    last_name      text NOT NULL DEFAULT '',
    email          text NOT NULL DEFAULT '',
    gender         text,
    tags           text[] NOT NULL DEFAULT '{}',
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, contact_id),
    UNIQUE (tenant_id, phone)
);

CREATE TABLE suppression (
    tenant_id      integer NOT NULL,
    phone          bigint NOT NULL,
    source         text NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, phone)
);
-- Read again right before a batch leaves: who opted out since it was claimed.
CREATE INDEX suppression_recent ON suppression (tenant_id, created_at);

-- ---------------------------------------------------------------- prices and money

-- Reference table. '*' is the default.
CREATE TABLE price (
    country              text NOT NULL,
    valid_from           timestamptz NOT NULL DEFAULT '-infinity',
    credits_per_segment  integer NOT NULL CHECK (credits_per_segment BETWEEN 1 AND 1000),
    PRIMARY KEY (country, valid_from)
);
INSERT INTO price (country, credits_per_segment) VALUES ('*', 1);

CREATE TABLE wallet (
    tenant_id      integer PRIMARY KEY REFERENCES tenant,
    available      bigint NOT NULL DEFAULT 0 CHECK (available >= 0),
    held           bigint NOT NULL DEFAULT 0 CHECK (held >= 0),
    updated_at     timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

CREATE TABLE journal (
    tenant_id       integer NOT NULL REFERENCES wallet,
    journal_id      bigint GENERATED ALWAYS AS IDENTITY,
    kind            text NOT NULL CHECK (kind IN
                    ('grant', 'topup', 'hold', 'extend', 'settle', 'release', 'resolve', 'refund', 'chargeback')),
    idempotency_key text NOT NULL,
    campaign_id     bigint,
    batch_id        bigint,
    note            text,
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, journal_id),
    UNIQUE (tenant_id, idempotency_key)
);

-- Accounts: 1 available, 2 held, 3 revenue, 4 funding (domain/money.py names them).
CREATE TABLE entry (
    tenant_id      integer NOT NULL,
    account        smallint NOT NULL CHECK (account BETWEEN 1 AND 4),
    journal_id     bigint NOT NULL,
    amount         bigint NOT NULL CHECK (amount <> 0),
    PRIMARY KEY (tenant_id, journal_id, account),
    FOREIGN KEY (tenant_id, journal_id) REFERENCES journal
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on % refused: the ledger is append-only; post a movement that corrects it', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER journal_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON journal
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER entry_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON entry
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- All entries of a movement come in one statement, so the statement is where they must balance.
CREATE FUNCTION refuse_unbalanced() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE bad bigint;
BEGIN
    SELECT journal_id INTO bad FROM added GROUP BY tenant_id, journal_id HAVING sum(amount) <> 0 OR count(*) < 2 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'the entries of movement % do not sum to zero', bad USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER entry_balanced AFTER INSERT ON entry REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_unbalanced();

-- ---------------------------------------------------------------- campaigns

CREATE TABLE campaign (
    tenant_id        integer NOT NULL REFERENCES tenant,
    campaign_id      bigint GENERATED ALWAYS AS IDENTITY,
    name             text NOT NULL,
    text             text NOT NULL,
    sender           text NOT NULL,
    provider         text NOT NULL,
    link_url         text,
    audience         jsonb NOT NULL,
    status           text NOT NULL DEFAULT 'draft' CHECK (status IN
                     ('draft', 'scheduled', 'planning', 'sending', 'paused', 'paused_funds', 'completed', 'cancelled')),
    status_reason    text,
    rate_per_s       integer CHECK (rate_per_s > 0),
    created_at       timestamptz NOT NULL DEFAULT now(),
    scheduled_at     timestamptz,
    started_at       timestamptz,
    finished_at      timestamptz,
    -- The planner's place: the last phone planned, how many were planned, and whether the audience is exhausted.
    plan_cursor      bigint NOT NULL DEFAULT 0,
    plan_count       integer NOT NULL DEFAULT 0,
    plan_done        boolean NOT NULL DEFAULT false,
    plan_fence       integer NOT NULL DEFAULT 0,
    plan_owner       text,
    plan_lease_until timestamptz,
    PRIMARY KEY (tenant_id, campaign_id)
) WITH (fillfactor = 70);
CREATE INDEX campaign_to_plan ON campaign (tenant_id, campaign_id) WHERE status = 'planning';
CREATE INDEX campaign_scheduled ON campaign (scheduled_at) WHERE status = 'scheduled';
CREATE INDEX campaign_waiting_funds ON campaign (tenant_id) WHERE status = 'paused_funds';

-- Each message of the campaign stands in exactly one state column; recipients is their sum. Kept in the transactions
-- that change the states, so that nothing ever counts rows.
CREATE TABLE campaign_counter (
    tenant_id      integer NOT NULL,
    campaign_id    bigint NOT NULL,
    recipients     bigint NOT NULL DEFAULT 0,
    planned        bigint NOT NULL DEFAULT 0 CHECK (planned >= 0),
    submitting     bigint NOT NULL DEFAULT 0 CHECK (submitting >= 0),
    accepted       bigint NOT NULL DEFAULT 0 CHECK (accepted >= 0),
    delivered      bigint NOT NULL DEFAULT 0,
    undelivered    bigint NOT NULL DEFAULT 0,
    expired        bigint NOT NULL DEFAULT 0,
    rejected       bigint NOT NULL DEFAULT 0,
    suppressed     bigint NOT NULL DEFAULT 0,
    cancelled      bigint NOT NULL DEFAULT 0,
    unknown        bigint NOT NULL DEFAULT 0 CHECK (unknown >= 0),
    held           bigint NOT NULL DEFAULT 0 CHECK (held >= 0),
    captured       bigint NOT NULL DEFAULT 0,
    released       bigint NOT NULL DEFAULT 0,
    refunded       bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, campaign_id)
) WITH (fillfactor = 30);

-- ---------------------------------------------------------------- messages and batches

-- One row a recipient, insert-only. The key is the promise: one message per phone per campaign. Rows are written in the
-- order of the phones, so the one index grows at its right end and a batch is a range of it.
CREATE TABLE msg (
    tenant_id      integer NOT NULL,
    n              integer NOT NULL,      -- position in the campaign, from 1
    campaign_id    bigint NOT NULL,
    phone          bigint NOT NULL,
    PRIMARY KEY (tenant_id, campaign_id, phone)
);

-- The queue: what a sender claims. A campaign's batch is the messages of a range of phones; a direct batch (campaign_id
-- NULL: transactional, test, automations) has its messages in `direct`.
CREATE TABLE batch (
    tenant_id      integer NOT NULL,
    batch_id       bigint GENERATED ALWAYS AS IDENTITY,
    campaign_id    bigint,
    phone_from     bigint NOT NULL DEFAULT 0,
    phone_to       bigint NOT NULL DEFAULT 0,
    n_from         integer NOT NULL,
    size           integer NOT NULL CHECK (size > 0),
    segments_max   integer NOT NULL,              -- what the messages may cost the rate, at worst
    provider       text NOT NULL,
    sender         text NOT NULL,
    lane           smallint NOT NULL DEFAULT 1,   -- 0 urgent, 1 campaign
    state          text NOT NULL DEFAULT 'planned' CHECK (state IN
                   ('planned', 'claimed', 'submitting', 'recorded', 'unknown', 'closed', 'cancelled')),
    fence          integer NOT NULL DEFAULT 0,    -- grows with each claim; a write under an older one is refused
    owner          text,
    lease_until    timestamptz,
    not_before     timestamptz NOT NULL DEFAULT '-infinity',
    attempts       integer NOT NULL DEFAULT 0,    -- tries that were certainly not taken
    resends        integer NOT NULL DEFAULT 0,    -- deliberate repeats of an unknown, by the tenant's policy
    hold           bigint NOT NULL CHECK (hold >= 0),   -- credits still held for this batch
    resolved       integer NOT NULL DEFAULT 0,    -- messages of an unknown batch that evidence has settled
    link_prefix    integer,
    reason         text,
    created_at     timestamptz NOT NULL DEFAULT now(),
    submitted_at   timestamptz,
    finished_at    timestamptz,
    PRIMARY KEY (tenant_id, batch_id)
) WITH (fillfactor = 70);
CREATE INDEX batch_ready ON batch (provider, lane, tenant_id, batch_id) WHERE state = 'planned';
CREATE INDEX batch_leased ON batch (lease_until) WHERE state IN ('claimed', 'submitting');
CREATE INDEX batch_unknown ON batch (submitted_at) WHERE state = 'unknown';
CREATE INDEX batch_of_campaign ON batch (tenant_id, campaign_id, n_from);

CREATE TABLE direct (
    tenant_id      integer NOT NULL,
    n              integer NOT NULL,
    batch_id       bigint NOT NULL,
    phone          bigint NOT NULL,
    price          integer NOT NULL,
    segments       smallint NOT NULL,
    purpose        text NOT NULL,
    country        text NOT NULL,
    text           text NOT NULL,
    PRIMARY KEY (tenant_id, batch_id, n)
);

-- Short codes, a block a batch: a code is the block's prefix and a random suffix; the suffix's place is the message's
-- position (n - n_base). One row for 5,000 links; architecture.md says why.
CREATE TABLE link_block (
    tenant_id      integer NOT NULL,
    prefix         integer NOT NULL,
    n_base         integer NOT NULL,
    campaign_id    bigint NOT NULL,
    suffixes       bigint[] NOT NULL,
    PRIMARY KEY (tenant_id, prefix)
);
ALTER TABLE link_block ALTER COLUMN suffixes SET STORAGE EXTERNAL;
-- Reference table: a link names a prefix before anything is known of its tenant.
CREATE TABLE link_prefix (
    prefix         integer PRIMARY KEY,
    tenant_id      integer NOT NULL
);

-- What became of a message: one row when the provider accepted it, or when it ended without being sent (suppressed,
-- rejected). Inserted by COPY, partitioned by day, updated HOT by reports: no indexed column ever changes.
CREATE TABLE delivery (
    batch_id       bigint NOT NULL,
    campaign_id    bigint,
    phone          bigint NOT NULL,
    provider_key   uuid,                  -- domain/provider_ids.py
    recorded_at    timestamptz NOT NULL,
    reported_at    timestamptz,           -- the provider's time of the final report
    tenant_id      integer NOT NULL,
    n              integer NOT NULL,
    price          integer NOT NULL,      -- credits captured
    recorded_on    date NOT NULL,
    state          smallint NOT NULL,     -- domain/lattice.py
    segments       smallint NOT NULL,
    id_form        smallint NOT NULL DEFAULT 0,
    provider_raw   text,
    reason         text,
    reports        text,                  -- the words and times of the reports that changed it
    text           text NOT NULL
) PARTITION BY RANGE (recorded_on);

-- Makes the partitions of `days` days from `first` on. ATTACH takes no lock that a running COPY would wait for.
CREATE FUNCTION ensure_delivery_partitions(first date, days integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    day date;
    part text;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('delivery_partitions'));
    FOR day IN SELECT first + i FROM generate_series(0, days - 1) AS i LOOP
        part := 'delivery_' || to_char(day, 'YYYYMMDD');
        CONTINUE WHEN to_regclass(part) IS NOT NULL;
        EXECUTE format('CREATE TABLE %I (LIKE delivery INCLUDING DEFAULTS INCLUDING CONSTRAINTS) WITH (fillfactor = 70, '
                       'autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05)', part);
        EXECUTE format('ALTER TABLE %I ADD CONSTRAINT %I CHECK (recorded_on >= %L AND recorded_on < %L)',
                       part, part || '_day', day, day + 1);
        EXECUTE format('CREATE UNIQUE INDEX %I ON %I (provider_key, tenant_id)', part || '_key', part);
        EXECUTE format('CREATE INDEX %I ON %I USING brin (batch_id) WITH (pages_per_range = 16, autosummarize = on)',
                       part || '_batch', part);
        EXECUTE format('ALTER TABLE delivery ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', part, day, day + 1);
        made := made + 1;
    END LOOP;
    RETURN made;
END $$;

-- ---------------------------------------------------------------- delivery reports

-- Webhook bodies that were acknowledged and are not applied yet: one row a group commit. Emptied by the apply.
CREATE TABLE dlr_inbox (
    inbox_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    provider       text NOT NULL,
    received_at    timestamptz NOT NULL DEFAULT now(),
    bodies         bytea[] NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
ALTER TABLE dlr_inbox ALTER COLUMN bodies SET STORAGE EXTERNAL;

-- Reports (and ids from incomplete answers) whose message is not known here: yet, or ever.
CREATE TABLE dlr_parked (
    provider_key   uuid PRIMARY KEY,
    provider       text NOT NULL,
    provider_id    text NOT NULL,
    state          smallint,              -- NULL: no report, an id that an incomplete answer named
    word           text NOT NULL,
    reported_at    timestamptz,
    reason         text,
    parked_at      timestamptz NOT NULL DEFAULT now(),
    attempts       integer NOT NULL DEFAULT 0,
    next_try_at    timestamptz NOT NULL DEFAULT now(),
    looked_up      text                   -- what the provider said of it, in a word
);
CREATE INDEX dlr_parked_due ON dlr_parked (next_try_at);

-- Reference table. The kill switch: while a row is here no batch is claimed and none turns `submitting`.
CREATE TABLE stop_switch (
    one            boolean PRIMARY KEY DEFAULT true CHECK (one),
    stopped_at     timestamptz NOT NULL DEFAULT now(),
    reason         text NOT NULL
);
