"""A few rows of each format of traces, with values of our own."""

from __future__ import annotations

from pathlib import Path

MOONCAKE = """\
{"timestamp": 0, "input_length": 1100, "output_length": 40, "hash_ids": [0, 1, 2]}
{"timestamp": 1250, "input_length": 1300, "output_length": 12, "hash_ids": [0, 1, 7]}
{"timestamp": 1250, "input_length": 900, "output_length": 5, "hash_ids": [9]}
"""
AIPERF = """\
{"timestamp": 0, "input_length": 700, "output_length": 30, "hash_ids": [3], "session_id": "a", \
"extra": {"temperature": 0.5}}
{"timestamp": 500, "text_input": "Name a river.", "output_length": 8, "session_id": "a"}
{"timestamp": 900.5, "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}, \
{"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "Why?"}], "top_p": 0.9}
"""
BAILIAN = """\
{"chat_id": 5, "parent_chat_id": -1, "timestamp": 3.2, "input_length": 40, "output_length": 9, "type": "text", \
"turn": 1, "hash_ids": [11, 12, 13]}
{"chat_id": 6, "parent_chat_id": 5, "timestamp": 9.9, "input_length": 64, "output_length": 20, "type": "text", \
"turn": 2, "hash_ids": [11, 12, 14, 15]}
{"chat_id": 8, "parent_chat_id": 7, "timestamp": 10.7, "input_length": 33, "output_length": 2, "type": "image", \
"turn": 3, "hash_ids": [21, 22, 23]}
"""
OFFLINE_HASHES = """\
{"request_id": 0, "type": "text", "input_length": 50, "hash_ids": [1, 2, 3, 4]}
{"request_id": 1, "type": "multimodal", "input_length": 35, "hash_ids": [1, 2, 5], "img_ids": ["img_1"]}
"""
OFFLINE_LENGTHS = """\
{"request_id": 0, "type": "text", "input_length": 61, "output_length": 230, "duration": 14000}
{"request_id": 1, "type": "text", "input_length": 54, "output_length": 20, "duration": 1163}
"""
AZURE_CODE = """\
TIMESTAMP,ContextTokens,GeneratedTokens\r
2023-11-16 18:00:00.1234567,374,44\r
2023-11-16 18:00:02.6234567,2015,9\r
"""
AZURE_WEEK = """\
TIMESTAMP,ContextTokens,GeneratedTokens
2024-05-10 00:00:01+00:00,2015,9
2024-05-10 00:00:00.250000+00:00,12,7
"""
AZURE_IMAGES = """\
TIMESTAMP,NumImages,ContextTokens,GeneratedTokens
2025-02-01 00:00:01.5,2,900,31
2025-02-01 00:00:01.75,0,80,3
"""
BURSTGPT_OLD = """\
Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,ChatGPT,1087,230,1317,Conversation log
118,GPT-4,417,0,417,API log
"""
BURSTGPT_NEW = """\
Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type
5.0,c-17,3.4,ChatGPT,472,18,490,Conversation log
45.0,,7.1,GPT-4,1087,230,1317,API log
46.5,c-17,1.2,ChatGPT,520,60,580,Conversation log
"""
SERVEGEN_WINDOWS = """\
0,0,0,,0,0
600,0.02,4.1,Weibull,0.42,0.35
1200,0.01,1.2,Gamma,0.7,1.9
"""
SERVEGEN_LENGTHS = """\
{"0": {"input_tokens": "{120: 0.5, 300: 0.5}", "output_tokens": "{40: 1.0}"},
"21600": {"input_tokens": "{}", "output_tokens": "{}"}}
"""


def servegen_client(folder: Path, windows: str = SERVEGEN_WINDOWS, lengths: str = SERVEGEN_LENGTHS) -> Path:
    """The file of windows of a client, with that of the lengths beside it."""
    (folder / "chunk-3-dataset.json").write_text(lengths)
    (trace := folder / "chunk-3-trace.csv").write_text(windows)
    return trace
