"""The base URL of a server: what is taken, and the sentence for what is not."""

import pytest

from tokenswarm.wire import Origin, UnusableUrl


@pytest.mark.parametrize(
    ("url", "origin", "authority"),
    [
        ("http://localhost", Origin("localhost", 80), "localhost"),
        ("http://localhost/", Origin("localhost", 80), "localhost"),
        ("http://gpu-1.lan:8000", Origin("gpu-1.lan", 8000), "gpu-1.lan:8000"),
        ("http://gpu:80", Origin("gpu", 80), "gpu"),
        ("http://gpu:", Origin("gpu", 80), "gpu"),
        ("http://gpu:65535", Origin("gpu", 65535), "gpu:65535"),
        ("http://gpu:443", Origin("gpu", 443), "gpu:443"),
        ("HTTP://GPU:8000", Origin("gpu", 8000), "gpu:8000"),
        ("  http://gpu:8000\n", Origin("gpu", 8000), "gpu:8000"),
        ("http://gpu:8000/llm/v2/", Origin("gpu", 8000, "/llm/v2"), "gpu:8000"),
        ("http://gpu/models/@fast", Origin("gpu", 80, "/models/@fast"), "gpu"),
        ("http://127.0.0.1:8000", Origin("127.0.0.1", 8000), "127.0.0.1:8000"),
        ("http://[::1]:8000/x", Origin("::1", 8000, "/x"), "[::1]:8000"),
        ("http://[2001:db8::1]", Origin("2001:db8::1", 80), "[2001:db8::1]"),
        ("http://gpu.example.:8000", Origin("gpu.example.", 8000), "gpu.example.:8000"),
    ],
)
def test_host_port_and_prefix_are_read_and_written_as_a_host_header(url: str, origin: Origin, authority: str) -> None:
    assert Origin.parse(url) == origin
    assert Origin.parse(url).authority == authority


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        (
            "ftp://gpu",
            "--host must start with http:// or https:// (got ftp:// in 'ftp://gpu'); write it as http://HOST:PORT.",
        ),
        (
            "gpu:8000",
            "--host must start with http:// or https:// (got no scheme in 'gpu:8000'); write it as http://HOST:PORT.",
        ),
        (
            "//gpu",
            "--host must start with http:// or https:// (got no scheme in '//gpu'); write it as http://HOST:PORT.",
        ),
        ("", "--host must start with http:// or https:// (got no scheme in ''); write it as http://HOST:PORT."),
        ("http://", "--host names no host: 'http://'; write it as http://HOST:PORT."),
        ("http://:8000", "--host names no host: 'http://:8000'; write it as http://HOST:PORT."),
        ("http:///v1", "--host names no host: 'http:///v1'; write it as http://HOST:PORT."),
        ("http://gpu:65536", "--host has a port that is no number from 1 to 65535: 'http://gpu:65536'."),
        ("http://gpu:0", "--host has a port that is no number from 1 to 65535: 'http://gpu:0'."),
        ("http://gpu:http", "--host has a port that is no number from 1 to 65535: 'http://gpu:http'."),
        (
            "http://gpu..example",
            "--host has an empty part, or one of more than 63 letters, between its dots: 'http://gpu..example'.",
        ),
        (
            f"http://{'g' * 64}.example",
            f"--host has an empty part, or one of more than 63 letters, between its dots: 'http://{'g' * 64}.example'.",
        ),
        ("http://[::1", "--host has no address in its brackets: 'http://[::1'; write http://[::1]:PORT."),
    ],
)
def test_an_unusable_url_is_one_sentence_that_says_what_to_write(url: str, sentence: str) -> None:
    with pytest.raises(UnusableUrl) as refused:
        Origin.parse(url)
    assert str(refused.value) == sentence


@pytest.mark.parametrize(
    "url",
    [
        "http://gpu/a b",
        "http://g pu",
        "http://gpu/caf\u00e9",
        "http://b\u00fccher.example",
        "http://gpu/\x7f",
        "http://gpu\r\nX-Injected: 1",
        "http://gpu/v1?key=1",
        "http://gpu/v1#top",
    ],
)
def test_what_no_request_line_may_hold_is_refused_before_a_request_is_made_of_it(url: str) -> None:
    with pytest.raises(UnusableUrl, match="plain ASCII"):
        Origin.parse(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://user:hunter2@gpu:8000",
        "http://hunter2@gpu",
        "https://user:hunter2@gpu",
        "http://user:hunter2@",
        "http://user:hunter2@gpu:x",
        "user:hunter2@gpu:8000",
        "http://:hunter2@gpu/[",
    ],
)
def test_a_password_is_refused_and_not_repeated_whatever_else_is_wrong(url: str) -> None:
    with pytest.raises(UnusableUrl) as refused:
        Origin.parse(url)
    sentence = "--host must not hold a user name or password; set the LLM_API_KEY variable instead."
    assert str(refused.value) == sentence


@pytest.mark.parametrize(
    ("url", "port", "authority"),
    [("https://gpu", 443, "gpu"), ("https://gpu:8443/llm/", 8443, "gpu:8443"), ("https://gpu:80", 80, "gpu:80")],
)
def test_https_means_tls_and_has_its_own_default_port(url: str, port: int, authority: str) -> None:
    origin = Origin.parse(url)
    assert (origin.tls, origin.port, origin.authority) == (True, port, authority)
    assert not Origin.parse("http://gpu").tls
