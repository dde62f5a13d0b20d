"""What the users of a run share on one process: the server, its dialect, the prompts, the recorder."""

from __future__ import annotations

import time

from tokenswarm.client.abandon_options import is_abandoned
from tokenswarm.client.chat_session import ChatSession, DrawnPrompt
from tokenswarm.client.host_spread import HostSpread, host_of_number
from tokenswarm.client.late_reading import LateReading
from tokenswarm.client.measurement_options import Stamps, TokenTimes, stamps_in_use, tap_of
from tokenswarm.client.prompt_supply import PromptSupply, turn_mark
from tokenswarm.client.request_options import (
    ChatOptions,
    at_endpoint,
    body_changes,
    engine_of,
)
from tokenswarm.client.run_models import models_of_run
from tokenswarm.client.server_address import origins_of
from tokenswarm.client.session_options import SessionSupply
from tokenswarm.client.trace_supply import LevelArrival, TraceSupply
from tokenswarm.client.workload import load_workload
from tokenswarm.engines import ChatRequest, EngineSpec
from tokenswarm.metrics.abandonment import Abandonment
from tokenswarm.metrics.level import Phase, RunningLevel
from tokenswarm.prompts import (
    Prompt,
)
from tokenswarm.prompts.synthetic.synthetic_prompts import request_number
from tokenswarm.prompts.traces.trace_source import TraceSource
from tokenswarm.recording.recorder import Recorder
from tokenswarm.wire import StreamClient

_SAMPLED_ONE_IN = 10


class GapSampling:
    """Which streams' gaps are measured."""

    def __init__(self, token_times: TokenTimes) -> None:
        self._token_times = token_times
        self._streams = 0

    def measures_next(self) -> bool:
        """Whether the next stream's gaps are to be measured."""
        self._streams += 1
        if self._token_times is TokenTimes.SAMPLED:
            return self._streams % _SAMPLED_ONE_IN == 1
        return self._token_times is TokenTimes.ALL


class RunContext:
    """A run as its users on this process see it; made anew for each run."""

    def __init__(self, options: ChatOptions, host: str, recorder: Recorder) -> None:
        """`options` names the engine and the model. Raises UnusableUrl, OptionError, PromptError, EngineError."""
        self.options = options
        self.workload = load_workload(options)
        self.engine: EngineSpec = engine_of(options)
        self.recorder = recorder
        self._origins = origins_of(host)
        #: Of this process's users.
        self.hosts = HostSpread(len(self._origins), options.lengths.workers)
        self._tls = options.tls.context()
        self.stamps = stamps_in_use(options.stamps, options.load_processes)
        self._tap = tap_of(self.stamps, options.load_processes)
        self._headers = [options.headers_for(origin, self.engine) for origin in self._origins]
        self._changes = body_changes(options, self.engine)
        self._engines = {"": self.engine}
        workload = self.workload
        self._supply: PromptSupply | None = None
        self._replay: TraceSupply | None = None
        if isinstance(workload.prompts, TraceSource):
            self._replay = TraceSupply(options, workload.prompts, workload.count_tokens)
        else:
            counter, images = workload.count_tokens, workload.images
            self._supply = PromptSupply(options, workload.prompts, counter, recorder.worker, images)
        self._models = {member.name: place for place, member in enumerate(models_of_run(options))}
        #: Answers have exactly the requested length where the engine can be made to.
        self._exact_length = options.ignore_eos or (options.states_output and self.engine.honours_ignore_eos)
        self._gap_sampling = GapSampling(options.token_times)
        #: Where the gaps of some streams are not measured, or measured by a packet tap.
        self.late_reading = LateReading() if self._tap or options.token_times is not TokenTimes.ALL else None

    def close(self) -> None:
        """The run is over, and its connections are closed."""
        if self._tap is not None:
            self._tap.close()

    @property
    def host_count(self) -> int:
        """How many hosts the requests are spread over."""
        return len(self._origins)

    def client(self, host: int = 0) -> StreamClient:
        """A client of its own for a user of the host at this place."""
        return StreamClient(
            self._origins[host],
            self.options.timeouts.connect_s,
            self._headers[host],
            self._tls,
            kernel_stamps=self.stamps is not Stamps.USER,
            proxy=self.options.proxy,
            tap=self._tap,
        )

    def measures_gaps(self) -> bool:
        """Whether the next stream's gaps are to be measured."""
        return self._gap_sampling.measures_next()

    @property
    def replays(self) -> bool:
        """Whether requests are those of a trace, each of which belongs to one arrival."""
        return self._replay is not None

    def begin_session(self, with_system_prompt: bool, arrival: LevelArrival | None = None) -> ChatSession:
        """The next session of this worker's order, marked as --prompt-reuse requires, or a synthetic one; of a replay
        the request of the arrival."""
        recorder = self.recorder
        if self._replay is not None:
            assert arrival is not None
            return self._replay.session(arrival, with_system_prompt)
        assert self._supply is not None
        place, recorder.prompts_drawn = recorder.prompts_drawn, recorder.prompts_drawn + 1
        return self._supply.session(place, with_system_prompt)

    def begin_session_of(self, level_index: int, with_system_prompt: bool) -> ChatSession | None:
        """The same for a user of this level: None where each session begins once in it, and none is left."""
        if self._supply is not None and self.options.sessions.supply is SessionSupply.ONCE:
            place = self._supply.place_in_round(level_index, self.recorder.prompts_drawn)
            if place is None:
                return None
            self.recorder.prompts_drawn = place
        return self.begin_session(with_system_prompt)

    def own_request(self, prompt: Prompt) -> DrawnPrompt:
        """A request of a user's own code, with its place in the run and the model that --models gives it."""
        options, recorder = self.options, self.recorder
        number = request_number(recorder.worker, options.lengths.workers, recorder.prompts_drawn)
        recorder.prompts_drawn += 1
        model = options.models.model_of(options.seed, number) if options.models else options.model
        return DrawnPrompt(prompt, model=model, number=number)

    def draw(self, with_system_prompt: bool) -> DrawnPrompt:
        """The first request of the next session."""
        return self.begin_session(with_system_prompt).next()

    def request(self, drawn: DrawnPrompt, with_system_prompt: bool) -> ChatRequest:
        """The request as the engine gets it; a system prompt of the run replaces that of the conversation, and a row's
        max_tokens the run's."""
        prompt = drawn.prompt
        request = ChatRequest(
            model=drawn.model,
            prompt=prompt.text,
            system_prompt=drawn.system_mark + self.workload.system_prompt if with_system_prompt else prompt.system,
            earlier=prompt.earlier,
            later=prompt.later,
            tool_fields=prompt.tool_fields,
            max_tokens=self.options.max_tokens if prompt.max_tokens is None else prompt.max_tokens,
            ignore_eos=self._exact_length or (bool(prompt.parts) and self.engine.honours_ignore_eos),
            changes=(*self._changes, prompt.body_overrides) if prompt.body_overrides else self._changes,
            image=drawn.image,
        )
        if drawn.place.turn > 1 and not self.options.cache.shares and not prompt.parts:
            request = request.behind(turn_mark(self.options.prompt_nonce, drawn))
        return request.without_system_role() if self.options.control.adaptations.system_in_prompt else request

    def abandonment_of(self, drawn: DrawnPrompt) -> Abandonment | None:
        """When the user of this request leaves it; None where it waits for its end."""
        plan = self.options.abandonment
        place, seed = drawn.place, self.options.seed
        leaves = plan is not None and is_abandoned(plan, seed, drawn.number, place.turn, place.agent)
        return plan if leaves else None

    def engine_for(self, prompt: Prompt) -> EngineSpec:
        """The engine at the endpoint that the prompt's row chooses, or the run's."""
        if prompt.endpoint not in self._engines:
            self._engines[prompt.endpoint] = engine_of(at_endpoint(self.options, prompt.endpoint))
        return self._engines[prompt.endpoint]

    def model_index(self, model: str) -> int:
        """The place of a model among those of the run."""
        return self._models[model]

    def user_number(self, begun: int) -> int:
        """The run's number, from 0, of the user that began to send as this process's begun-th."""
        return request_number(self.recorder.worker, self.options.lengths.workers, begun - 1)

    def host_of(self, drawn: DrawnPrompt) -> int:
        """The place of the host that gets this request of an open loop."""
        return host_of_number(drawn.number, self.host_count, self.options.lengths.workers)

    def open_level(self) -> RunningLevel | None:
        """The level of a request that is sent now; None while no request is to be sent."""
        running = self.recorder.current_level
        if running is None or running.phase_at(time.perf_counter_ns()) is Phase.DRAIN:
            return None
        return running
