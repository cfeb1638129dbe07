from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('tenants', '0003_cache_scope'),
    ]

    operations = [
        migrations.AddField(
            model_name='apikey',
            name='enable_cache',
            field=models.BooleanField(db_default=True, default=True, help_text='Off: every call asks the upstream, and nothing is kept.'),
        ),
    ]
