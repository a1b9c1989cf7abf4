"""`GET /metrics`: what the service counts and measures."""

from __future__ import annotations

from fastapi import APIRouter, Response

from diml.service.metrics import MEDIA_TYPE, Metrics


def metrics_routes(metrics: Metrics) -> APIRouter:
    """The route that Prometheus reads."""
    router = APIRouter(tags=["service"])

    @router.get(
        "/metrics",
        summary="Metrics for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"example": "diml_queue_requests 0.0\n"}}}},
    )
    def read_metrics() -> Response:
        """Requests, seconds by stage, batch sizes, jobs and memory, in the text format of Prometheus."""
        return Response(metrics.render(), headers={"content-type": MEDIA_TYPE, "cache-control": "no-store"})

    return router
