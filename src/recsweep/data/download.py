"""Public data sets by name: where each comes from, and a local copy of it."""

import os
from dataclasses import dataclass
from pathlib import Path

from recsweep.errors import DataError

GROUPLENS = "https://files.grouplens.org/datasets/movielens/"


@dataclass(frozen=True)
class Source:
    """A place where a data set can be had.

    Attributes:
        member: The file with the interactions, inside the archive or the unpacked folder.
        page: A page for people, named in error messages.
        url: The archive, for a plain download.
        checksum: Checksum of the archive, as `md5:...`.
        kaggle: The data set's handle on Kaggle, in place of a url.
    """

    member: str
    page: str
    url: str | None = None
    checksum: str | None = None
    kaggle: str | None = None


SOURCES = {
    "foodcom": Source(
        member="RAW_interactions.csv",
        page="https://www.kaggle.com/datasets/shuyangli94/food-com-recipes-and-user-interactions",
        kaggle="shuyangli94/food-com-recipes-and-user-interactions",
    ),
    "movielens_100k": Source(
        member="u.data",
        page="https://grouplens.org/datasets/movielens/100k/",
        url=GROUPLENS + "ml-100k.zip",
        checksum="md5:0e33842e24a9c977be4e0107933c0723",
    ),
    "movielens_1m": Source(
        member="ratings.dat",
        page="https://grouplens.org/datasets/movielens/1m/",
        url=GROUPLENS + "ml-1m.zip",
        checksum="md5:c4d9eecfca2ab87c1945afe126590906",
    ),
}


def fetch(dataset: str) -> Path:
    """A local copy of a data set of SOURCES: downloaded once, then taken from the cache.

    The cache is `$RECSWEEP_CACHE`, or else the platform's folder for caches; kagglehub keeps its
    own.

    Raises:
        DataError: No network, no kagglehub, or a file that isn't the one expected.
    """
    source = SOURCES[dataset]
    if source.url is None:
        return _fetch_from_kaggle(dataset, source)
    return _fetch_url(dataset, source, source.url)


def _fetch_url(dataset: str, source: Source, url: str) -> Path:
    import pooch

    folder = os.environ.get("RECSWEEP_CACHE") or pooch.os_cache("recsweep")
    name, http = url.rpartition("/")[2], pooch.HTTPDownloader(timeout=30)
    try:
        return Path(pooch.retrieve(url, source.checksum, fname=name, path=folder, downloader=http))
    except OSError as error:  # requests' errors among them
        raise _failure(dataset, f"{url} -> {folder}: {error}") from error
    except ValueError as error:  # pooch's word for a wrong checksum
        raise _failure(dataset, f"{url} isn't the file expected: {error}") from error


def _fetch_from_kaggle(dataset: str, source: Source) -> Path:
    try:
        import kagglehub
    except ImportError as error:
        reason = "kagglehub isn't installed: pip install 'recsweep[kaggle]'"
        raise _failure(dataset, reason) from error
    try:
        return Path(kagglehub.dataset_download(source.kaggle, path=source.member))
    except Exception as error:  # kagglehub documents no class for network, sign-in, versions
        raise _failure(dataset, f"Kaggle: {type(error).__name__}: {error}") from error


def _failure(dataset: str, reason: str) -> DataError:
    source = SOURCES[dataset]
    return DataError(
        f"{dataset} can't be downloaded ({reason}). Get {source.member} from {source.page} "
        f"and set data.path to it."
    )
