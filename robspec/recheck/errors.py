"""Certificates that cannot be read or confirmed."""

from __future__ import annotations

from robspec.errors import RobspecError


class BadCertificate(RobspecError):
    """A file is missing, no certificate, or damaged.

    `robspec check --certificate FILE` writes certificates. Each carries a digest over all of its content: one that
    has been altered anywhere is refused before anything is derived.
    """

    code = "E0802"
    title = "not a certificate"


class CertificateRejected(RobspecError):
    """What a certificate says is not what follows from the model, the specification and the data.

    `robspec recheck` derives every field of a certificate anew and names the fields that differ. A different SHA-256
    means another model, specification or image; different logits or versions mean another machine or another build;
    any other difference means that the certificate is false. A certificate does not choose its question either: where
    the check was asked with `--set`, `--assume-lipschitz`, `--forward`, `--batch-size` or `--coarse`, `recheck` has
    to be, too.
    """

    code = "E0804"
    title = "certificate rejected"
    exit_status = 1
