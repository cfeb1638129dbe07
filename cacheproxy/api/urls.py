"""The API's paths for the cache."""

from django.urls import path

from cacheproxy.api.invalidations import InvalidationsView
from cacheproxy.api.statistics import StatisticsView

urlpatterns = [
    path("cache/invalidations", InvalidationsView.as_view(), name="cache-invalidations"),
    path("cache/statistics", StatisticsView.as_view(), name="cache-statistics"),
]
