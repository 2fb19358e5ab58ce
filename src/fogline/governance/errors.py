"""What can be wrong with identities, tokens, signatures, bundles and policies. Each text is a sentence for people."""

from __future__ import annotations

from fogline.errors import InputError


class TrustError(InputError, ValueError):
    """Base of the errors of this room. The text never holds a secret."""


class CertificateError(TrustError):
    """A certificate, or a request for one, that cannot be read or must not be believed."""


class AuthorityError(TrustError):
    """There is no authority in a folder, there is one already, or it cannot be read."""


class IdentityError(TrustError):
    """A node's identity that cannot be used as it is."""


class NoIdentityError(IdentityError):
    """The node has not joined yet."""


class UntimelyIdentityError(IdentityError):
    """The node's certificate does not hold at the time that this machine's clock shows. The clock may be wrong, and
    be set right later."""


class ExpiredIdentityError(UntimelyIdentityError):
    """The node's certificate is past its end."""


class EarlyIdentityError(UntimelyIdentityError):
    """The node's certificate does not hold yet."""


class TokenError(TrustError):
    """A text that is no token, or a token that cannot be made as asked."""


class TokenRefusedError(TrustError):
    """A token that the cloud does not redeem. The text may be sent to whoever presented it."""


class RoleError(TrustError):
    """A call that somebody's role does not allow."""


class RevocationError(TrustError):
    """A revocation list that cannot be read or is not signed by the authority."""


class SignatureError(TrustError):
    """A signing key, a signer or a signed envelope that cannot be read or does not hold."""


class BundleError(TrustError):
    """A bundle of code that cannot be packed, or must not be opened."""


class SitePolicyError(TrustError):
    """A site's policy file that cannot be read, or says something impossible."""


class ApprovalError(TrustError):
    """An owner's word on a job that cannot be read or does not hold, or cannot be given."""


class AuditLogError(TrustError):
    """An audit log, a head of one or a proof about one that cannot be believed, or a record that cannot be kept."""
