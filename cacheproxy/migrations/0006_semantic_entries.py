"""The semantic tier's entries: a question as a vector, and the key under which its answer is kept."""

from django.db import migrations

EXTENSION = """
DO $$
BEGIN
    CREATE EXTENSION IF NOT EXISTS vector;
EXCEPTION
    WHEN feature_not_supported OR undefined_file THEN
        RAISE EXCEPTION 'PostgreSQL has no pgvector, which the semantic tier keeps its entries with'
            USING HINT = 'Install pgvector 0.8 or newer (Debian: postgresql-18-pgvector), then migrate again.';
    WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'this role may not create the extension vector (pgvector)'
            USING HINT = 'Let a superuser run CREATE EXTENSION vector in this database, then migrate again.';
END
$$;
DO $$
DECLARE
    installed text := (SELECT extversion FROM pg_extension WHERE extname = 'vector');
BEGIN
    IF string_to_array(installed, '.')::int[] < ARRAY[0, 8] THEN
        RAISE EXCEPTION 'pgvector % is too old', installed
            USING HINT = 'Install pgvector 0.8 or newer and run ALTER EXTENSION vector UPDATE, then migrate again.';
    END IF;
END
$$;
"""

# By context: what is searched is always one context's, so that one partition is, and the index of vectors holds few
# that are none of its business. A context includes its scope; no partition knows where one tenant's end.
TABLE = """
CREATE TABLE cacheproxy_semanticentry (
    context bytea NOT NULL,
    answer_key bytea NOT NULL,
    tenant_id bigint NOT NULL,
    scope bytea NOT NULL,
    model text NOT NULL,
    version text NOT NULL,
    region smallint NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    question bytea NOT NULL,
    embedding halfvec(384) NOT NULL,
    PRIMARY KEY (context, answer_key)
) PARTITION BY HASH (context);
COMMENT ON TABLE cacheproxy_semanticentry IS 'Questions that another wording may share the answer of.';

DO $$
BEGIN
    FOR remainder IN 0..7 LOOP
        EXECUTE format(
            'CREATE TABLE cacheproxy_semanticentry_%s PARTITION OF cacheproxy_semanticentry'
            ' FOR VALUES WITH (MODULUS 8, REMAINDER %s)', remainder, remainder);
    END LOOP;
END
$$;

CREATE INDEX cacheproxy_semanticentry_expiry ON cacheproxy_semanticentry (expires_at);
CREATE INDEX cacheproxy_semanticentry_tenant ON cacheproxy_semanticentry (tenant_id, model);
CREATE INDEX cacheproxy_semanticentry_near ON cacheproxy_semanticentry USING hnsw (embedding halfvec_ip_ops);
"""


class Migration(migrations.Migration):
    dependencies = [("cacheproxy", "0005_invalidations")]
    operations = [
        migrations.RunSQL(EXTENSION, migrations.RunSQL.noop),
        migrations.RunSQL(TABLE, "DROP TABLE cacheproxy_semanticentry"),
    ]
