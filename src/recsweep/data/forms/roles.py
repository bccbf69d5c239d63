"""By which names people call the columns of users, items, ratings and times."""

import re
from collections.abc import Sequence
from typing import Literal

Role = Literal["user", "item", "rating", "time"]

_ID = ("", "id", "ids", "key", "code", "no", "nr", "num", "number", "index", "idx", "uuid", "hash")


def _with_ids(*names: str, alone: bool = True) -> set[str]:
    """The names as ids are called after them, and by themselves where they mean little else."""
    return {name + ending for name in names for ending in _ID[0 if alone else 1 :]}


_USERS = (
    _with_ids("user") | {"uid", "userids", "useridx", "iduser", "reviewerid", "msno"},
    _with_ids(
        *("customer", "cust", "client", "member", "reviewer", "account", "buyer", "shopper"),
        *("consumer", "person", "people", "profile", "player", "listener", "reader", "viewer"),
        *("student", "learner", "subscriber", "household", "patient", "rater", "contact"),
        *("kunde", "kunden", "nutzer", "benutzer", "utilisateur", "usuario", "cliente", "utente"),
    ),
    _with_ids("visitor", "author", "owner", "guest", "device", "cookie", "employee", "passenger"),
    {"username", "usernames", "login", "nickname", "email", "reviewername", "customername"},
    _with_ids("session", "basket", "playlist"),
    {"u", "users", "source", "src"},
)
"""Names of user columns, the surest first."""

_ITEMS = (
    _with_ids("item") | {"iid", "itemids", "itemidx", "iditem"},
    _with_ids(
        *("movie", "film", "product", "prod", "book", "song", "track", "artist", "album", "recipe"),
        *("business", "article", "game", "app", "anime", "manga", "video", "news", "poi", "venue"),
        *("restaurant", "hotel", "course", "joke", "beer", "wine", "sku", "podcast", "episode"),
        *("tweet", "repo", "artikel", "produkt", "produit", "producto", "prodotto"),
    )
    | _with_ids(
        *(
            "place",
            "location",
            "listing",
            "lesson",
            "show",
            "good",
            "food",
            "dish",
            "meal",
            "paper",
        ),
        *("paper", "post", "photo", "image", "pin", "story", "channel", "ad", "offer", "coupon"),
        *(
            "material",
            "property",
            "job",
            "vacancy",
            "content",
            "clip",
            "attraction",
            "series",
            "stock",
        ),
        alone=False,
    )
    | {"asin", "isbn", "isbn10", "isbn13", "ean", "upc", "gtin", "bookisbn", "jokeid"},
    {"parentasin", "url", "domain", "page", "pageid", "link"},
    {"title", "itemname", "productname", "movietitle", "booktitle", "artistname", "gamename"}
    | {"songtitle", "trackname", "producttitle", "gametitle", "moviename"},
    _with_ids("category", "cat", "genre", "brand", "topic", "tag"),
    {"i", "items", "name", "target", "dst"},
)
"""Names of item columns, the surest first."""

_RATINGS = (
    {"rating", "ratings", "star", "stars", "overall", "userrating", "starrating", "bookrating"}
    | {"reviewscore", "reviewrating", "reviewoverall", "movierating", "ratingscore", "ratingvalue"}
    | {"bewertung", "grade", "rate", "rated", "myrating", "itemrating"}
    | {"voto", "puntuacion", "valoracion", "calificacion", "beoordeling"},
    {"score", "scores", "preference", "pref", "vote", "votes", "feedback", "points"},
    {"weight", "plays", "playcount", "playcounts", "listens", "listencount", "listeningcount"}
    | {"count", "counts", "quantity", "qty", "clicks", "views", "visits", "purchases", "frequency"}
    | {"freq", "timesplayed", "numplays", "nplays", "hours", "hoursplayed", "playtime"}
    | {"strength", "menge", "anzahl", "totalplays", "scrobbles", "playhours", "watchratio"},
    {"event", "eventtype", "action", "actiontype", "behavior", "behaviour", "behaviortype"}
    | {"behaviourtype", "interaction", "interactiontype", "eventname", "activity", "activitytype"},
    {"label", "like", "liked", "likes", "islike", "isliked", "bought", "purchased", "clicked"}
    | {"click", "isclick", "isbuy", "isclicked", "ispurchased", "recommended", "isrecommended"}
    | {"value", "y", "target", "response", "implicit", "positive"},
    {"note", "nota"},  # of French and Italian; in English some words
)
"""Names of rating columns, the surest first."""

_TIMES = (
    {"timestamp", "timestamps", "unixreviewtime", "unixtime", "unixtimestamp", "ts", "tstamp"}
    | {
        "timestampms",
        "epoch",
        "eventtimestamp",
        "ratingtimestamp",
        "unixtimestampoflastinteraction",
    },
    {"time", "date", "datetime", "reviewtime", "reviewdate", "invoicedate", "orderdate"}
    | {
        "purchasedate",
        "eventtime",
        "eventdate",
        "createdat",
        "created",
        "createdate",
        "timecreated",
    }
    | {"ratingdate", "ratingtime", "clicktime", "datum", "zeit", "zeitstempel", "fecha"}
    | {"transactiondate", "tdat", "listenedat", "playedat", "ratedat", "submitted", "visittime"}
    | {"dateadded", "addedat", "checkintime", "localtime", "utctime", "visitdate", "reviewedat"},
    {"updatedat", "updated", "modified", "dateupdated", "lastmodified", "day"},
)
"""Names of time columns, the surest first."""

_NAMES: dict[Role, tuple[set[str], ...]] = {
    "user": _USERS,
    "item": _ITEMS,
    "rating": _RATINGS,
    "time": _TIMES,
}

_WITHIN: dict[Role, set[str]] = {
    "user": {"user", "userid", "uid", "customer", "customerid", "member", "reviewer", "client"}
    | {"visitor", "account"},
    "item": {"item", "itemid", "product", "productid", "movie", "movieid", "book", "song", "track"}
    | {"artist", "article", "recipe", "asin", "isbn", "sku", "game", "anime"},
    "rating": {"rating", "ratings", "stars", "score"},
    "time": {"timestamp", "datetime", "date", "time", "ts"},
}
"""Words of a longer name that tell a role where no column has one of the names above."""

_COUNTS = {
    *("plays", "play", "playcount", "listens", "counts", "count", "quantity", "qty", "clicks"),
    *("views", "visits", "hours", "purchases", "freq", "frequency", "weight", "times"),
    *("scrobbles", "playtime", "menge", "anzahl"),
}

_TYPED = re.compile(r"(.+):(token|float|token_seq|float_seq)")
"""A name in the header of a RecBole file, as `user_id:token`."""


def normal(name: str) -> str:
    """A name without case, blanks and signs: `User-ID`, `user_id` and `userId` are one."""
    return re.sub(r"[\W_]+", "", bare(name).lower())


def bare(name: str) -> str:
    """A column's name without the type that a RecBole header has behind it."""
    typed = _TYPED.fullmatch(name)
    return typed[1] if typed else name


def is_typed(name: str) -> bool:
    return _TYPED.fullmatch(name) is not None


def rank(name: str, role: Role) -> int | None:
    """How surely a column of this name has a role, 0 the surest; None where the whole name is not
    known."""
    found = normal(name)
    return next((place for place, names in enumerate(_NAMES[role]) if found in names), None)


def role_of(name: str) -> Role | None:
    """The role of which a whole name is a name, the surest; None where it is that of none."""
    ranks = [(place, role) for role in _NAMES if (place := rank(name, role)) is not None]
    return min(ranks, key=lambda entry: entry[0])[1] if ranks else None


def holds(name: str, role: Role) -> bool:
    """Whether one word of a name tells the role, as in `dim_user_sk`."""
    words = _words(name)
    return not _WITHIN[role].isdisjoint(words) and words.isdisjoint({"average", "avg", "mean"})


def is_count(name: str) -> bool:
    """Whether a column so named holds how often, or how many, and no judgement."""
    return normal(name) in _COUNTS or not _COUNTS.isdisjoint(_words(name))


def best(names: Sequence[str], role: Role) -> list[str]:
    """The names of equal standing that tell a role most surely; none where no name does."""
    ranks = {name: place for name in names if (place := rank(name, role)) is not None}
    if ranks:
        return [name for name, place in ranks.items() if place == min(ranks.values())]
    return [name for name in names if holds(name, role)]


def _words(name: str) -> set[str]:
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", bare(name))
    return set(re.split(r"[\W_]+", parted.lower()))
