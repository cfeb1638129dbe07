"""The control plane's URLs."""

from django.contrib import admin
from django.templatetags.static import static
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from billing.api.stripe_webhook import stripe_webhook

api: list[URLPattern | URLResolver] = [
    path("", include("billing.api.urls")),
    path("", include("cacheproxy.api.urls")),
    path("schema", SpectacularAPIView.as_view(), name="schema"),
    path("docs", SpectacularSwaggerView.as_view(url_name="schema"), name="docs"),
]

urlpatterns = [
    path("favicon.ico", RedirectView.as_view(url=static("zerorate/favicon.svg"))),
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("api/v1/", include(api)),
    path("webhooks/stripe", stripe_webhook),
]

handler400 = "config.problem.bad_request"
handler404 = "config.problem.not_found"
handler500 = "config.problem.server_error"
