"""Whose model a name stands for, and whether a judge is kin to what it judges.

Refuses to know a model by anything but its name: it is a warning's ground, no proof.
"""

import re

FAMILIES = {
    "openai": r"gpt|chatgpt|davinci|openai|o[134]$",
    "anthropic": r"claude|anthropic",
    "google": r"gemini|gemma|palm|google",
    "meta": r"llama|meta$",
    "mistral": r"[a-z]*stral|mi[sx]tral",
    "qwen": r"qwen|qwq|qvq|alibaba",
    "deepseek": r"deepseek",
    "microsoft": r"phi\d*$|microsoft",
    "cohere": r"command|aya$|cohere",
    "xai": r"grok|xai$",
    "zhipu": r"glm|chatglm|zai$",
    "moonshot": r"kimi|moonshot",
    "nvidia": r"nemotron|nvidia",
    "ibm": r"granite|ibm$",
    "huggingface": r"smollm|zephyr|huggingfacetb",
    "amazon": r"nova$|titan$|amazon",
    "allenai": r"olmo|tulu|allenai",
    "01": r"yi$",
    "minimax": r"minimax|abab",
}
"""Whose models a word of a model's name stands for."""


def banner(judge_model: str, model: str) -> str:
    """Why a judge is partial to answers of `model`; "" where nothing says so.

    Panickssery, Bowman and Feng, "LLM Evaluators Recognize and Favor Their Own Generations" (2024).
    """
    if judge_model == model:
        return f"The judge, {judge_model}, is the teacher itself, and judges favour what they wrote."
    if shared := families(judge_model) & families(model):
        kin = " and ".join(sorted(shared))
        return f"The judge, {judge_model}, is of the teacher's family ({kin}), and judges favour their own."
    return ""


def families(model: str) -> frozenset[str]:
    """Whose model a name stands for: 'azure/gpt-4o-mini' is openai; a distilled one may be of two.

    What stands before the last '/' is a provider's name and counts only where the rest says nothing; an
    unknown model is a family of its own first word.
    """
    for part in (model.rpartition("/")[2], model):
        words = [word for word in re.split(r"[^a-z0-9]+", part.casefold()) if word]
        found = {name for name, known in FAMILIES.items() for word in words if re.match(known, word)}
        if found:
            return frozenset(found)
    first = re.search(r"[a-z]+", model.rpartition("/")[2].casefold())
    return frozenset({first[0] if first else model})
