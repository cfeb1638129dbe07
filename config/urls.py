"""The control plane's URLs."""

from django.contrib import admin
from django.urls import path

from billing.api.stripe_webhook import stripe_webhook

urlpatterns = [
    path("admin/", admin.site.urls),
    path("webhooks/stripe", stripe_webhook),
]
