"""Each engine's own metrics, as it writes them, read as the same few concepts."""

from __future__ import annotations

import pytest

from tokenswarm.engines import ENGINES
from tokenswarm.engines.engine_metrics import Concept
from tokenswarm.engines.server_metrics import MetricsUnreadable, known_series, read_metrics

VLLM = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="llama"} 7.0
vllm:num_requests_running{engine="1",model_name="llama"} 5.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="llama"} 1.0
vllm:num_requests_waiting{engine="1",model_name="llama"} 2.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="llama",reason="capacity"} 9.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="llama"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="llama"} 0.75
# TYPE vllm:prefix_cache_queries_total counter
vllm:prefix_cache_queries_total{engine="0",model_name="llama"} 1000.0
vllm:prefix_cache_queries_created{engine="0",model_name="llama"} 1.7e+09
# TYPE vllm:prefix_cache_hits_total counter
vllm:prefix_cache_hits_total{engine="0",model_name="llama"} 400.0
vllm:prompt_tokens_total{engine="0",model_name="llama"} 1000.0
vllm:generation_tokens_total{engine="0",model_name="llama"} 2.5e+04
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.1",model_name="llama"} 4.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf",model_name="llama"} 10.0
vllm:time_to_first_token_seconds_count{engine="0",model_name="llama"} 10.0
vllm:time_to_first_token_seconds_sum{engine="0",model_name="llama"} 1.5
vllm:inter_token_latency_seconds_count{engine="0",model_name="llama"} 200.0
vllm:inter_token_latency_seconds_sum{engine="0",model_name="llama"} 4.0
vllm:time_per_output_token_seconds_count{engine="0",model_name="llama"} 200.0
vllm:time_per_output_token_seconds_sum{engine="0",model_name="llama"} 4.0
process_cpu_seconds_total 12.5
"""
# Older: other names for the cache, prefix metrics of 0.8 to 0.10, one name for the time between tokens.
VLLM_OLDER = """\
vllm:num_requests_running{model_name="llama"} 3.0
vllm:num_requests_swapped{model_name="llama"} 2.0
vllm:gpu_cache_usage_perc{model_name="llama"} 0.5
vllm:cpu_cache_usage_perc{model_name="llama"} 0.9
vllm:gpu_prefix_cache_queries_total{model_name="llama"} 10.0
vllm:gpu_prefix_cache_hits_total{model_name="llama"} 5.0
vllm:time_per_output_token_seconds_count{model_name="llama"} 20.0
vllm:time_per_output_token_seconds_sum{model_name="llama"} 1.0
"""
LMDEPLOY = """\
lmdeploy:num_requests_running{engine="0",model_name="llama"} 9.0
lmdeploy:num_requests_waiting{engine="0",model_name="llama"} 4.0
lmdeploy:num_api_requests_waiting{engine="0",model_name="llama"} 11.0
lmdeploy:gpu_cache_usage_perc{engine="0",model_name="llama"} 0.125
lmdeploy:prefix_cache_hit_rate{engine="0",model_name="llama"} 0.3
lmdeploy:cached_tokens_total{engine="0",model_name="llama"} 60.0
lmdeploy:prompt_tokens_total{engine="0",model_name="llama"} 200.0
lmdeploy:generation_tokens_total{engine="0",model_name="llama"} 900.0
lmdeploy:time_to_first_token_seconds_count{engine="0",model_name="llama"} 4.0
lmdeploy:time_to_first_token_seconds_sum{engine="0",model_name="llama"} 0.5
lmdeploy:iter_token_latency_count{engine="0",model_name="llama"} 8.0
lmdeploy:iter_token_latency_sum{engine="0",model_name="llama"} 0.25
"""
# No strict text: tabs, no types, labels without quotes.
MLC = """\
engine_prefill_time_sum\t1.5
engine_decode_time_sum\t20.25
prompt_tokens_sum\t1234
completion_tokens_sum\t5678
prefill_tokens_sum\t1200
decode_tokens_sum\t5600
last_finished_request_ttft_s\t0.125
last_finished_request_inter_token_latency_s\t0.01
decode_time_by_batch_size_mean{batch_size=1}\t0.0125
decode_time_by_batch_size_mean{batch_size=2}\t0.0130
"""
TRTLLM = """\
trtllm_num_requests_running{model_name="llama",engine_type="trtllm"} 6.0
trtllm_num_requests_waiting{model_name="llama",engine_type="trtllm"} 2.0
trtllm_kv_cache_utilization{model_name="llama",engine_type="trtllm"} 0.375
trtllm_kv_cache_hit_rate{model_name="llama",engine_type="trtllm"} 0.2
trtllm_prompt_tokens_total{model_name="llama",engine_type="trtllm"} 100.0
trtllm_prompt_cached_tokens_total{model_name="llama",engine_type="trtllm"} 20.0
trtllm_generation_tokens_total{model_name="llama",engine_type="trtllm"} 300.0
trtllm_time_to_first_token_seconds_count{model_name="llama",engine_type="trtllm"} 8.0
trtllm_time_to_first_token_seconds_sum{model_name="llama",engine_type="trtllm"} 2.0
trtllm_time_per_output_token_seconds_count{model_name="llama",engine_type="trtllm"} 8.0
trtllm_time_per_output_token_seconds_sum{model_name="llama",engine_type="trtllm"} 0.125
"""
TRTLLM_STEPS = """[{"iter": 1, "numActiveRequests": 1, "numQueuedRequests": 5, "gpuMemUsage": 56401920000,
 "kvCacheStats": {"usedNumBlocks": 1, "maxNumBlocks": 100}},
 {"iter": 2, "iterLatencyMS": 16.5, "numActiveRequests": 4, "numQueuedRequests": 2,
 "kvCacheStats": {"usedNumBlocks": 25, "maxNumBlocks": 100, "cacheHitRate": 0.5, "tokensPerBlock": 32}}]"""
TRITON = """\
# TYPE nv_trt_llm_request_metrics gauge
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="waiting",version="1"} 3
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="context",version="1"} 1
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="scheduled",version="1"} 8
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="max",version="1"} 512
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="active",version="1"} 11
# TYPE nv_trt_llm_kv_cache_block_metrics gauge
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="fraction",model="tensorrt_llm",version="1"} 0.4
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="used",model="tensorrt_llm",version="1"} 400
nv_inference_pending_request_count{model="ensemble",version="1"} 0
# TYPE nv_inference_first_response_histogram_ms histogram
nv_inference_first_response_histogram_ms_count{model="ensemble",version="1"} 10
nv_inference_first_response_histogram_ms_sum{model="ensemble",version="1"} 1250
nv_inference_first_response_histogram_ms_bucket{model="ensemble",version="1",le="100"} 3
nv_inference_first_response_histogram_ms_count{model="tensorrt_llm",version="1"} 10
nv_inference_first_response_histogram_ms_sum{model="tensorrt_llm",version="1"} 1000
"""
TRITON_OLDER = """\
nv_inference_pending_request_count{model="ensemble",version="1"} 2
nv_inference_pending_request_count{model="tensorrt_llm",version="1"} 3
nv_inference_request_success{model="ensemble",version="1"} 100
"""
TGI = """\
# TYPE tgi_batch_current_size gauge
tgi_batch_current_size 12
# TYPE tgi_queue_size gauge
tgi_queue_size 3
# TYPE tgi_request_generated_tokens histogram
tgi_request_generated_tokens_bucket{le="128"} 4
tgi_request_generated_tokens_sum 5120
tgi_request_generated_tokens_count 10
tgi_request_input_length_sum 700
tgi_request_input_length_count 10
tgi_request_mean_time_per_token_duration_sum 0.3
tgi_request_mean_time_per_token_duration_count 10
tgi_request_failure{err="overloaded"} 1
"""
SGLANG = """\
sglang:num_running_reqs{model_name="llama"} 162.0
sglang:num_queue_reqs{model_name="llama"} 2826.0
sglang:token_usage{model_name="llama"} 0.28
sglang:cache_hit_rate{model_name="llama"} 0.0075
sglang:prompt_tokens_total{model_name="llama"} 8.128902e+06
sglang:generation_tokens_total{model_name="llama"} 7.557572e+06
sglang:time_to_first_token_seconds_sum{model_name="llama"} 2.5e+06
sglang:time_to_first_token_seconds_count{model_name="llama"} 11008.0
sglang:inter_token_latency_seconds_sum{model_name="llama"} 22.0
sglang:inter_token_latency_seconds_count{model_name="llama"} 400.0
"""
LLAMACPP = """\
# HELP llamacpp:prompt_tokens_total Number of prompt tokens processed.
# TYPE llamacpp:prompt_tokens_total counter
llamacpp:prompt_tokens_total 88
# TYPE llamacpp:tokens_predicted_total counter
llamacpp:tokens_predicted_total 240
# TYPE llamacpp:requests_processing gauge
llamacpp:requests_processing 4
# TYPE llamacpp:requests_deferred gauge
llamacpp:requests_deferred 6
"""
BENTOML = """\
# TYPE bentoml_service_request_in_progress gauge
bentoml_service_request_in_progress{endpoint="/generate",runner_name="",service_name="VLLM",service_version="x"} 5.0
bentoml_service_request_total{endpoint="/generate",http_response_code="200",service_name="VLLM"} 42.0
"""
DCGM = """\
# HELP DCGM_FI_DEV_GPU_UTIL GPU utilization (in %).
# TYPE DCGM_FI_DEV_GPU_UTIL gauge
DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="GPU-a",device="nvidia0",modelName="NVIDIA A100-SXM4-80GB",Hostname="node"} 97
DCGM_FI_DEV_GPU_UTIL{gpu="1",UUID="GPU-b",device="nvidia1",modelName="NVIDIA A100-SXM4-80GB",Hostname="node"} 53
DCGM_FI_DEV_FB_USED{gpu="0",UUID="GPU-a",device="nvidia0"} 70123
"""

TOLD = {
    "vllm": (
        VLLM,
        {
            "requests_running": 12,
            "requests_waiting": 3,
            "kv_cache_utilization": 0.5,
            "prefix_cache_queries_total": 1000,
            "prefix_cache_hits_total": 400,
            "prompt_tokens_total": 1000,
            "output_tokens_total": 25000,
            "ttft_seconds_sum": 1.5,
            "ttft_seconds_count": 10,
            "inter_token_seconds_sum": 4.0,
            "inter_token_seconds_count": 200,
        },
    ),
    "vllm, older": (
        VLLM_OLDER,
        {
            "requests_running": 3,
            "kv_cache_utilization": 0.5,
            "prefix_cache_queries_total": 10,
            "prefix_cache_hits_total": 5,
            "inter_token_seconds_sum": 1.0,
            "inter_token_seconds_count": 20,
        },
    ),
    "lmdeploy": (
        LMDEPLOY,
        {
            "requests_running": 9,
            "requests_waiting": 4,
            "kv_cache_utilization": 0.125,
            "prefix_cache_queries_total": 200,
            "prefix_cache_hits_total": 60,
            "prefix_cache_hit_ratio": 0.3,
            "prompt_tokens_total": 200,
            "output_tokens_total": 900,
            "ttft_seconds_sum": 0.5,
            "ttft_seconds_count": 4,
            "inter_token_seconds_sum": 0.25,
            "inter_token_seconds_count": 8,
        },
    ),
    "mlc": (MLC, {"prompt_tokens_total": 1234, "output_tokens_total": 5678, "ttft_seconds_last": 0.125}),
    "trtllm": (
        TRTLLM,
        {
            "requests_running": 6,
            "requests_waiting": 2,
            "kv_cache_utilization": 0.375,
            "prefix_cache_queries_total": 100,
            "prefix_cache_hits_total": 20,
            "prefix_cache_hit_ratio": 0.2,
            "prompt_tokens_total": 100,
            "output_tokens_total": 300,
            "ttft_seconds_sum": 2.0,
            "ttft_seconds_count": 8,
            "inter_token_seconds_sum": 0.125,
            "inter_token_seconds_count": 8,
        },
    ),
    "trtllm, steps": (
        TRTLLM_STEPS,
        {
            "requests_running": 4,
            "requests_waiting": 2,
            "kv_cache_utilization": 0.25,
            "prefix_cache_hit_ratio": 0.5,
        },
    ),
    "trtllm, idle": ("[]", {}),
    "triton": (
        TRITON,
        {
            "requests_running": 8,
            "requests_waiting": 3,
            "kv_cache_utilization": 0.4,
            "ttft_seconds_sum": 1.25,
            "ttft_seconds_count": 10,
        },
    ),
    "triton, older": (TRITON_OLDER, {"requests_waiting": 5}),
    "tgi": (
        TGI,
        {
            "requests_running": 12,
            "requests_waiting": 3,
            "prompt_tokens_total": 700,
            "output_tokens_total": 5120,
        },
    ),
    "sglang": (
        SGLANG,
        {
            "requests_running": 162,
            "requests_waiting": 2826,
            "kv_cache_utilization": 0.28,
            "prefix_cache_queries_total": 8128902,
            "prefix_cache_hit_ratio": 0.0075,
            "prompt_tokens_total": 8128902,
            "output_tokens_total": 7557572,
            "ttft_seconds_sum": 2.5e6,
            "ttft_seconds_count": 11008,
            "inter_token_seconds_sum": 22,
            "inter_token_seconds_count": 400,
        },
    ),
    "llamacpp": (
        LLAMACPP,
        {
            "requests_running": 4,
            "requests_waiting": 6,
            "prompt_tokens_total": 88,
            "output_tokens_total": 240,
        },
    ),
    "bentoml": (BENTOML, {"requests_running": 5}),
    "bentoml before vllm": (BENTOML + VLLM_OLDER, {"requests_running": 3}),
    "gpus": (DCGM, {"gpu_utilization": 0.75}),
    "a page of something else": ("# TYPE go_goroutines gauge\ngo_goroutines 8\n", {}),
    "a value that is not a number": ("tgi_queue_size NaN\ntgi_batch_current_size 2\n", {"requests_running": 2}),
    "crlf": ("tgi_queue_size 1\r\ntgi_batch_current_size 2\r\n", {"requests_waiting": 1, "requests_running": 2}),
}


@pytest.mark.parametrize("case", TOLD)
def test_a_page_is_read_as_what_it_means(case: str) -> None:
    page, expected = TOLD[case]
    told = {concept.value: value for concept, value in read_metrics(page.encode()).items()}
    if case == "bentoml before vllm":
        told = {"requests_running": told["requests_running"]}
    assert told == pytest.approx(expected)


@pytest.mark.parametrize(
    "page",
    [
        *(b"tgi_queue_size{broken 3\n", b"tgi_queue_size many\n", b"\xff\xfe", b"[1, 2]", b"[{"),
        pytest.param(b'[{"more":' + b"[" * 100_000, id="nested beyond reason"),
    ],
)
def test_what_is_no_page_of_metrics_is_said_in_a_sentence(page: bytes) -> None:
    with pytest.raises(MetricsUnreadable, match=r"^this is no"):
        read_metrics(page)


def test_a_web_page_tells_nothing() -> None:
    assert read_metrics(b"<!doctype html><title>Welcome</title>") == {}


def test_every_engine_says_where_its_metrics_are_or_that_it_has_none() -> None:
    usual = [("/metrics", None)]
    endpoints = {name: [(each.path, each.port) for each in spec.metrics.endpoints] for name, spec in ENGINES.items()}
    assert {name: of_engine for name, of_engine in endpoints.items() if of_engine != usual} == {
        **{name: [] for name in ("lmdeploy-0.4.0", "mlc-2024", "koboldcpp", "ollama")},
        "trtllm": [("/prometheus/metrics", None), ("/metrics", None)],
        **{name: [("/metrics", 8002), *usual] for name in ("triton", "triton-bls")},
    }


def test_every_gauge_of_a_share_is_folded_to_a_mean() -> None:
    for concept, choices in known_series(tuple(ENGINES)).series.items():
        shares = concept.endswith(("utilization", "ratio"))
        assert all((series.fold([1.0, 1.0]) == 1.0) == shares for series in choices) or concept is (
            Concept.TTFT_SECONDS_LAST
        )
