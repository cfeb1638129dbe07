"""Where Stripe delivers its webhooks."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from billing.errors import StripeError
from billing.services import webhooks


@csrf_exempt
@require_POST
def stripe_webhook(request: HttpRequest) -> HttpResponse:
    """Store one event and answer at once; refusals are problem+json (RFC 9457)."""
    body = request.read(webhooks.BODY_BYTES_MAX + 1)  # no more than shows that it is too large
    try:
        webhooks.receive(body=body, signature=request.headers.get("Stripe-Signature", ""))
    except StripeError as error:
        problem = {"status": error.status, "code": error.code, "title": str(error)}
        return JsonResponse(problem, status=error.status, content_type="application/problem+json")
    return HttpResponse(status=200)
