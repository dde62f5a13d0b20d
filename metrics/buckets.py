"""Bucket bounds for Prometheus and histograms.csv: vLLM's own, so that a dashboard can lay ours over the server's.

Source of the bounds: vLLM's metrics `vllm:time_to_first_token_seconds`, `vllm:inter_token_latency_seconds`,
`vllm:request_time_per_output_token_seconds` and `vllm:e2e_request_latency_seconds`. vLLM has no histogram of a user's
token rate: its bounds here run from 1 to 1,000 tokens a second in about equal steps of the logarithm. The client's own
delay needs bounds far below a token's time.
"""

TTFT_S = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
GAP_S = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
)
TPOT_S = GAP_S
E2E_S = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0),
    *(40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0),
)
SESSION_S = (
    *(1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0),
    *(1800.0, 3600.0, 7200.0, 14_400.0, 28_800.0),
)
TOKEN_RATE = (
    *(1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0, 75.0),
    *(100.0, 125.0, 150.0, 200.0, 300.0, 500.0, 750.0, 1000.0),
)
CLIENT_DELAY_S = (
    *(0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025),
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
)

#: What is exposed as a histogram: a field of PartBooks and its bounds.
EXPOSED = {
    "ttft_s": TTFT_S,
    "request_token_rate": TOKEN_RATE,
    "gap_s": GAP_S,
    "tpot_s": TPOT_S,
    "e2e_s": E2E_S,
    "client_delay_s": CLIENT_DELAY_S,
}
