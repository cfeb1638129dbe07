"""A scope for those who invalidate their answers in the cache."""

import django.contrib.postgres.fields
import tenants.models
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('tenants', '0002_key_limits'),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name='apikey',
            name='api_key_scopes_known',
        ),
        migrations.AlterField(
            model_name='apikey',
            name='scopes',
            field=django.contrib.postgres.fields.ArrayField(base_field=models.CharField(choices=[('inference', 'call models'), ('usage:read', 'read usage'), ('invoices:read', 'read invoices'), ('cache:write', 'invalidate the cache')], max_length=13), default=tenants.models.all_scopes, size=None),
        ),
        migrations.AddConstraint(
            model_name='apikey',
            constraint=models.CheckConstraint(condition=models.Q(('scopes__contained_by', ['inference', 'usage:read', 'invoices:read', 'cache:write']), ('scopes__len__gt', 0)), name='api_key_scopes_known'),
        ),
    ]
