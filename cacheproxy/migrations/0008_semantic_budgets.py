"""The semantic tier's error budgets: one row for each model, with what its checks found so far."""

from django.db import migrations

TABLE = """
CREATE TABLE cacheproxy_semanticbudget (
    model text NOT NULL,
    version text NOT NULL,
    state jsonb NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (model, version)
);
COMMENT ON TABLE cacheproxy_semanticbudget IS 'How often semantic hits were found wrong; deleting a row begins anew.';
"""


class Migration(migrations.Migration):
    dependencies = [("cacheproxy", "0007_cache_switches_in_views")]
    operations = [migrations.RunSQL(TABLE, "DROP TABLE cacheproxy_semanticbudget")]
