"""The locustfile of Tokenswarm's own users, which options set. What a run is made of: run_control/composition.py.

locust -f locustfile.py --headless -H http://gpu:8000 --engine vllm
"""

import tokenswarm.run_control.early_interrupt

# isort: split
import tokenswarm.run_control.early_arguments

# isort: split
import tokenswarm.run_control.composition  # noqa: F401
from tokenswarm.shapes.run_shape import RunShape
from tokenswarm.users.chat import ChatUser, SystemPromptChatUser

__all__ = ["ChatUser", "RunShape", "SystemPromptChatUser"]
