"""The small model: encoding rows to tensors, LoRA, training and answering."""

import logging

# Where bitsandbytes is installed peft imports it, and on a CPU it warns at every command of a kernel that
# is not used here.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
