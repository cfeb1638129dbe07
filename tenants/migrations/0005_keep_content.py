"""Tenants may let their requests be kept."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('tenants', '0004_apikey_enable_cache'),
    ]

    operations = [
        migrations.AddField(
            model_name='tenant',
            name='keep_content',
            field=models.BooleanField(db_default=False, default=False, help_text='Keep requests, so that the cache can be warmed up with those asked most. Off: none are kept.'),
        ),
    ]
