"""Room for packages that rely on JAX's usual promotion of types and ranks."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax


@contextmanager
def lenient_promotion() -> Iterator[None]:
    """Allow implicit promotion in the block, whatever the user has forbidden."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield
