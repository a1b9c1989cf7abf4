"""The metrics: what is counted, and that no label grows with what clients send."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from diml.service.metrics import STAGES, Metrics


@pytest.fixture
def metrics():
    return Metrics()


def samples(metrics):
    families = text_string_to_metric_families(metrics.render().decode())
    return {(s.name, *sorted(s.labels.items())): s.value for family in families for s in family.samples}


def test_two_applications_count_for_themselves(metrics):
    metrics.request("/health", "GET", 200, 0.1)
    assert Metrics().value("diml_requests_total", route="/health", method="GET", status="200") == 0


def test_a_request_is_counted_by_route_method_and_status(metrics):
    for status in (200, 200, 503):
        metrics.request("/health", "GET", status, 0.03)
    found = samples(metrics)
    assert found["diml_requests_total", ("method", "GET"), ("route", "/health"), ("status", "200")] == 2
    assert found["diml_requests_total", ("method", "GET"), ("route", "/health"), ("status", "503")] == 1
    assert found["diml_request_seconds_sum", ("route", "/health")] == pytest.approx(0.09)
    assert found["diml_request_seconds_bucket", ("le", "0.02"), ("route", "/health")] == 0
    assert found["diml_request_seconds_bucket", ("le", "0.05"), ("route", "/health")] == 3


def test_unknown_paths_and_methods_share_one_label(metrics):
    for i in range(20):
        metrics.request(None, f"METHOD{i}", 404, 0.01)
    assert metrics.value("diml_requests_total", route="other", method="other", status="404") == 20
    assert sum(name == "diml_requests_total" for name, *_ in samples(metrics)) == 1


def test_every_stage_is_stated_before_it_happened(metrics):
    found = samples(metrics)
    assert {found["diml_stage_seconds_count", ("stage", stage)] for stage in STAGES} == {0}


def test_an_unknown_stage_is_refused(metrics):
    with pytest.raises(ValueError, match=r"expected a stage, one of decode, embed, .*got 'dream'"):
        metrics.stage("dream", 1.0)


def test_a_batch_counts_its_images_and_its_seconds(metrics):
    metrics.batch(3, 0.5)
    assert metrics.value("diml_batch_images_sum") == 3
    assert metrics.value("diml_stage_seconds_sum", stage="embed") == 0.5


def test_the_queue_and_the_jobs_are_asked_for_when_they_are_read(metrics):
    waiting = [1, 2, 3]
    metrics.watch_queue(lambda: len(waiting))
    metrics.watch_jobs(lambda: 2)
    waiting.pop()
    assert samples(metrics)["diml_queue_requests",] == 2
    assert samples(metrics)["diml_jobs_open",] == 2


def test_jobs_refusals_and_running_requests(metrics):
    metrics.job("add", "done")
    metrics.refused()
    assert metrics.value("diml_jobs_total", kind="add", state="done") == 1
    assert metrics.value("diml_requests_refused_total") == 1
    with metrics.running():
        assert metrics.value("diml_requests_running") == 1
    assert metrics.value("diml_requests_running") == 0


def test_the_memory_of_the_process_is_stated(metrics):
    assert samples(metrics)["process_resident_memory_bytes",] > 1e7
