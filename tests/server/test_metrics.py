"""What Prometheus is told, read by its own parser."""

from prometheus_client import parser

from clipkit.server.metrics import ServerMetrics


def test_requests_and_batches_are_counted() -> None:
    metrics = ServerMetrics()
    metrics.begin_request()
    metrics.begin_request()
    metrics.end_request("POST", "/v1/search", 200, 0.03)
    metrics.batches_of("text")(5, 0.2)
    metrics.batches_of("text")(3, 0.2)
    metrics.set_ready(is_ready=True)
    text = metrics.page().decode()
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }
    asked = (("method", "POST"), ("route", "/v1/search"), ("status", "200"))
    assert samples["clipkit_requests_total", asked] == 1
    assert samples["clipkit_requests_under_way", ()] == 1
    assert samples["clipkit_ready_workers", ()] == 1
    assert samples["clipkit_batch_size_sum", (("kind", "text"),)] == 8
    assert samples["clipkit_batch_size_count", (("kind", "text"),)] == 2
    within = (("le", "0.05"), ("route", "/v1/search"))
    assert samples["clipkit_request_seconds_bucket", within] == 1
