"""Saving a perceiver, loading it, and sharing it on the Hugging Face Hub. Nothing uses the network unless asked."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

from mvplm.model_card import CARD_FILE, model_card

if TYPE_CHECKING:
    from mvplm.perceiver import Perceiver


class HubMixin:
    """What a Perceiver does with directories and the Hub."""

    def save(self, directory: str | Path, *, half: bool = False, provenance: dict[str, Any] | None = None) -> Path:
        """Write weights (safetensors), configuration, tokenizer and vocabulary into a directory for :func:`mvplm.load`.

        Args:
            directory: made when missing.
            half: store floating weights as bfloat16, half the size.
            provenance: where the weights come from, JSON-ready; what the perceiver was loaded with when None.
        """
        from mvplm.pretrained import save_perceiver

        return save_perceiver(cast("Perceiver", self), directory, half=half, provenance=provenance)

    def save_pretrained(
        self,
        directory: str | Path,
        *,
        half: bool = False,
        provenance: dict[str, Any] | None = None,
        license: str | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> Path:
        """What :meth:`save` writes, and a model card ``README.md``: a directory that is ready for the Hub.

        Args:
            directory, half, provenance: see :meth:`save`.
            license: identifier of the weights' licence, such as "apache-2.0"; the one in the provenance when None. The
                card says so when it is not known.
            metrics: measured numbers by name, in percent; the card says "not measured" without.
        """
        perceiver = cast("Perceiver", self)
        folder = perceiver.save(directory, half=half, provenance=provenance)
        card = model_card(perceiver, folder.name, provenance=provenance, license=license, metrics=metrics)
        (folder / CARD_FILE).write_text(card, encoding="utf-8")
        return folder

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        device: str = "auto",
        dtype: str = "auto",
        local_files_only: bool = True,
        revision: str | None = None,
    ) -> "Perceiver":
        """Load a directory, shipped weights or a Hub id, like :func:`mvplm.load`.

        Args:
            name: what to load.
            device, dtype: see :func:`mvplm.load`.
            local_files_only: only what is on this machine, the Hub's cache included; False allows a download.
            revision: branch, tag or commit on the Hub.

        Raises:
            ValueError: nothing of that name; the message lists what is shipped.
        """
        from mvplm.pretrained import load_perceiver

        return load_perceiver(name, device=device, dtype=dtype, local_files_only=local_files_only, revision=revision)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | None = None,
        revision: str | None = None,
        commit_message: str = "Upload an mvplm model",
        half: bool = False,
        license: str | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> str:
        """Upload what :meth:`save_pretrained` writes; the repository is made when it does not exist.

        Args:
            repo_id: "owner/name".
            private: of a new repository; the owner's default when None.
            token: of the Hub; the one stored on this machine when None.
            revision: branch to upload to; the main one when None.
            commit_message: of the upload.
            half, license, metrics: see :meth:`save_pretrained`.

        Returns:
            Address of the commit.
        """
        from huggingface_hub import HfApi

        api, perceiver = HfApi(token=token), cast("Perceiver", self)
        with TemporaryDirectory() as folder:
            saved = perceiver.save(folder, half=half)
            card = model_card(perceiver, repo_id, on_hub=True, license=license, metrics=metrics)
            (saved / CARD_FILE).write_text(card, encoding="utf-8")
            api.create_repo(repo_id, private=private, exist_ok=True)
            commit = api.upload_folder(
                repo_id=repo_id, folder_path=saved, revision=revision, commit_message=commit_message
            )
        return commit.commit_url
