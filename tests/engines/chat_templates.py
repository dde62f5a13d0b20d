"""Chat templates, and what transformers makes of them: `chat_templates.json` has its results.

In an environment that has transformers and jinja2 (a throw-away one: they are no dependencies of the tests),
`python tests/engines/chat_templates.py` writes them again. The imports of this project are not needed for that.
"""

from __future__ import annotations

import json
from pathlib import Path

RECORDED = Path(__file__).with_name("chat_templates.json")
_USER = {"role": "user", "content": "Why <b>&'x'\" é忙?"}
CONVERSATIONS = [
    [_USER],
    [{"role": "system", "content": "Be brief."}, _USER],
    [{"role": "system", "content": ""}, _USER, {"role": "assistant", "content": "So.\n"}, _USER],
]
_EACH = "{% for message in messages %}"
_TURN = "<|{{ message['role'] }}|>\n{{ message['content'] }}<|end|>\n"
_PROMPT = "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
TEMPLATES = {
    "plain": _EACH + _TURN + "{% endfor %}" + _PROMPT,
    "line end at the end": _EACH + _TURN + "{% endfor %}" + _PROMPT + "\n",
    "two line ends at the end": _EACH + _TURN + "{% endfor %}<|assistant|>\n\n",
    "blocks on lines of their own": (
        f"{_EACH}\n    {{%- if true %}}\n{_TURN}    {{% endif %}}\n{{% endfor %}}\n{_PROMPT}\n"
    ),
    "tojson": _EACH + "{{ message | tojson }}\n{% endfor %}",
    "tojson with options": _EACH + "{{ message | tojson(indent=2, sort_keys=true, ensure_ascii=true) }}{% endfor %}",
    "tojson with separators": "{{ messages | tojson(separators=(',', ':')) }}",
    "break": _EACH
    + "{% if loop.index == 2 %}{% break %}{% endif %}"
    + _TURN
    + "{% endfor %}{{ messages[-1].content }}",
    "continue": _EACH + "{% if message.role == 'system' %}{% continue %}{% endif %}" + _TURN + "{% endfor %}",
    "generation": _EACH + "{% generation %}" + _TURN + "{% endgeneration %}{% endfor %}" + _PROMPT,
    "generation with line control": (
        _EACH
        + "{%- if message.role == 'assistant' %}\n  {%- generation -%}\n{{ message.content }}\n{%- endgeneration %}\n"
        "{%- else %}\n{{ message.content }}{% endif %}{% endfor %}"
    ),
    "generation is a scope": (
        "{% set x = 'a' %}{% generation %}{% set x = 'b' %}{{ x }}{% endgeneration %}{{ x }}{{ messages[-1].content }}"
    ),
    "strftime_now": "{{ strftime_now('%Y')|int > 2000 }} {{ strftime_now('%%d') }} {{ messages[-1].content }}",
    "tools and documents are none": (
        "{% if tools is none and documents is none %}none {% endif %}{% if tools is defined %}defined{% endif %}"
        "{{ messages[-1].content }}"
    ),
    "namespace": (
        "{% set ns = namespace(system='') %}" + _EACH + "{% if message.role == 'system' %}"
        "{% set ns.system = message.content %}{% endif %}{% endfor %}[{{ ns.system }}]{{ messages[-1].content }}"
    ),
    "macro and filters": (
        "{% macro turn(m) %}{{ m.role|upper }}: {{ m.content|trim }}{% endmacro %}"
        + _EACH
        + "{{ turn(message) }}\n{% endfor %}"
    ),
    "slices": (
        "{% set rest = messages[1:] if messages[0].role == 'system' else messages %}"
        "{{ rest|length }}{{ rest[-1].content }}"
    ),
}


def main() -> None:
    import transformers
    from transformers.utils.chat_template_utils import render_jinja_template

    results = {
        name: [
            render_jinja_template(
                conversations=[messages], chat_template=source, add_generation_prompt=True, bos_token="", eos_token=""
            )[0][0]
            for messages in CONVERSATIONS
        ]
        for name, source in TEMPLATES.items()
    }
    document = {"transformers": transformers.__version__, "results": results}
    RECORDED.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
