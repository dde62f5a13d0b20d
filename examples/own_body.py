"""Fields of the body and headers of your own: here a JSON schema for the answer, and the tenant of a gateway.

    tokenswarm run -f examples/own_body.py -H http://gpu:8000 -u 10 -t 1m

`body` is merged into the request's body (null deletes a field), `headers` is added to its headers. What all requests
have can also be given by options: --body, --temperature, --header.
"""

from locust import constant_throughput, task

from tokenswarm import StreamingUser

CITY = {
    "type": "json_schema",
    "json_schema": {
        "name": "city",
        "schema": {"type": "object", "properties": {"name": {"type": "string"}, "inhabitants": {"type": "integer"}}},
    },
}


class Client(StreamingUser):
    wait_time = constant_throughput(1)  # one task a second, as long as answers take less

    @task
    def city(self) -> None:
        self.stream(
            "Describe a city.",
            body={"response_format": CITY, "temperature": 0.2},
            headers={"X-Tenant": "load-test"},
            max_tokens=100,
        )
