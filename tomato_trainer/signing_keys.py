"""Private ed25519 keys of the trust repository's roles, one PEM file each."""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner

from sprout_link.files import write_durably
from tomato_trainer.errors import PublishError


class SigningKeys:
    """Keys in a folder that only its owner may enter."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loaded: dict[str, CryptoSigner] = {}

    def make(self, role: str) -> CryptoSigner:
        """The key of `role`, made when there is none yet.

        Raises:
            PublishError: the key that is there cannot be used.
            OSError: the folder cannot be written.
        """
        path = self._folder / f"{role}.pem"
        if not path.exists():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_durably(path, CryptoSigner.generate_ed25519().private_bytes, mode=0o600)
        return self.load(role)

    def load(self, role: str) -> CryptoSigner:
        """The key of `role`.

        Raises:
            PublishError: it is missing, damaged, of another kind, or others may read it.
        """
        if role in self._loaded:
            return self._loaded[role]
        path = self._folder / f"{role}.pem"
        try:
            if path.stat().st_mode & 0o077:
                raise PublishError(
                    f"{path}: others may read this private key; run chmod 600 on it, "
                    "and make new keys if someone may have"
                )
            key = load_pem_private_key(path.read_bytes(), None)
        except OSError as error:
            raise PublishError(
                f"{path}: the signing key cannot be read ({error.strerror}); "
                "restore it from a backup"
            ) from error
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise PublishError(f"{path}: not a private key; restore it from a backup") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise PublishError(f"{path}: expected an ed25519 key, found another kind")
        signer = CryptoSigner(key)
        self._loaded[role] = signer
        return signer
