"""How the cache answered, by hour, tenant and model."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('cacheproxy', '0008_semantic_budgets'),
        ('tenants', '0003_cache_scope'),
    ]

    operations = [
        migrations.CreateModel(
            name='CacheStatistic',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('hour', models.DateTimeField()),
                ('model', models.CharField(max_length=200)),
                ('result', models.CharField(choices=[('memory', 'memory'), ('redis', 'Redis'), ('semantic', 'semantic'), ('coalesced', 'coalesced'), ('stale', 'stale'), ('batch', 'batch'), ('never_seen', 'never seen'), ('expired', 'expired'), ('evicted', 'evicted'), ('invalidated', 'invalidated'), ('version', 'new version'), ('policy', 'by policy'), ('client', 'by the client')], max_length=11)),
                ('calls', models.BigIntegerField()),
                ('size_bytes', models.BigIntegerField()),
                ('age_ms', models.BigIntegerField()),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='cache_statistics', to='tenants.tenant')),
            ],
            options={
                'verbose_name': 'cache statistic',
                'ordering': ['-hour', 'tenant', 'model', 'result'],
                'constraints': [models.UniqueConstraint(fields=('hour', 'tenant', 'model', 'result'), name='cache_statistic_once_an_hour')],
            },
        ),
    ]
