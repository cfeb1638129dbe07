from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0005_limits_and_budgets'),
    ]

    operations = [
        migrations.AddField(
            model_name='plan',
            name='enable_cache',
            field=models.BooleanField(db_default=True, default=True, help_text='Off: every call asks the upstream, and nothing is kept.'),
        ),
    ]
