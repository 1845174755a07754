"""A folder sent to the Hugging Face Hub as a dataset repository, in one commit.

Refuses to make anything public unasked, to send what is not data or card, and to let the token into a text.
"""

import os
import re
import warnings
from pathlib import Path
from typing import Any

from distill.errors import CredentialsError, DistillError, UsageError

NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
ALLOWED = ("README.md", "data/*.parquet", "data/*.jsonl")
TOKEN_HINT = "export HF_TOKEN=… with write access (huggingface.co/settings/tokens), or: hf auth login"


def token() -> str:
    """The Hub token of $HF_TOKEN or of `hf auth login`. Raises CredentialsError where there is none."""
    from huggingface_hub import get_token

    found = os.environ.get("HF_TOKEN", "").strip() or get_token()
    if not found:
        raise CredentialsError("no token for the Hugging Face Hub", where="$HF_TOKEN", hint=TOKEN_HINT)
    if not (found.isascii() and found.isprintable()):
        raise CredentialsError("the token has a character that cannot be sent", where="$HF_TOKEN")
    return found


def check_name(repository: str) -> str:
    """`repository`, if it is owner/name. Raises UsageError."""
    if not NAME.fullmatch(repository) or ".." in repository:
        raise UsageError(f"{repository!r} is no repository", where="--push", hint="owner/name")
    return repository


def push(folder: Path, repository: str, *, key: str, public: bool) -> str:
    """Send the dataset in `folder` to `repository` (made if need be) at $HF_ENDPOINT; its address.

    A repository that is public already takes the data only with `public`. Raises CredentialsError where the
    token is refused, UsageError on a public repository, DistillError where the Hub cannot be reached.
    """
    import httpx
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, token=key)
    files = sorted(path for pattern in ALLOWED for path in folder.glob(pattern))
    parts = [CommitOperationAdd(path.relative_to(folder).as_posix(), path) for path in files]
    try:
        made = api.create_repo(repository, repo_type="dataset", private=not public, exist_ok=True)
        if not public and not api.repo_info(repository, repo_type="dataset").private:
            raise UsageError(
                f"{repository} is public already",
                where="--push",
                hint="add --public to publish the data there, or name another repository",
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the Hub's advice on the card
            api.create_commit(repository, parts, commit_message="distill export-data", repo_type="dataset")
    except HfHubHTTPError as error:
        raise _refused(error, repository, key) from None
    except (httpx.HTTPError, OSError, ValueError, KeyError) as error:
        raise DistillError(
            f"the Hub cannot be reached, or does not answer as it should: {_clean(error, key)}",
            where="--push",
            hint="the export itself is written; try again, or upload the folder yourself",
        ) from None
    return str(made)


def _refused(error: Any, repository: str, key: str) -> DistillError:
    status = error.response.status_code
    said = _clean(error.server_message or error, key)
    if status in (401, 403):
        return CredentialsError(
            f"the Hub refuses the token for {repository} ({status}): {said}",
            where="$HF_TOKEN",
            hint=TOKEN_HINT,
        )
    hint = "the export itself is written; try again, or upload the folder yourself"
    return DistillError(f"the Hub refuses {repository} ({status}): {said}", where="--push", hint=hint)


def _clean(error: Exception | str, key: str) -> str:
    """What the error says on one line, without the token."""
    return " ".join(str(error).replace(key, "***").split())[:300]
