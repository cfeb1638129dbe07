"""The parameters of a query string."""

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request


class Query(serializers.Serializer[Any]):
    """Validates a query string. Unknown names are refused, as a misspelt filter would widen the answer."""

    @classmethod
    def read(cls, request: Request) -> dict[str, Any]:
        """Return the validated parameters of a request.

        Raises:
            ValidationError: naming each parameter that is wrong, with the remedy.
        """
        query = cls(data=request.query_params)
        query.is_valid(raise_exception=True)
        return dict(query.validated_data)

    def to_internal_value(self, data: Any) -> Any:
        """Return the parameters as Python values, by source."""
        unknown = sorted(set(data) - set(self.fields))
        if unknown:
            remedy = f"There is no such parameter; there are {', '.join(self.fields)}."
            raise serializers.ValidationError({name: [remedy] for name in unknown}, code="unknown")
        return super().to_internal_value(data)
