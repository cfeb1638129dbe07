"""The API's paths for the cache."""

from django.urls import path

from cacheproxy.api.invalidations import InvalidationsView

urlpatterns = [path("cache/invalidations", InvalidationsView.as_view(), name="cache-invalidations")]
