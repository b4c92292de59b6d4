"""Takes secrets out of text before it leaves the machine: what is not known to be harmless goes.

There is no list of how secrets look. So a word stays when it is harmless: letters, numbers, times, versions, paths,
names of files, addresses without what they hold beside the path, and the names that kaosd itself has given. A value
that is assigned to a name stays only when it cannot be a password, or when the name is one of kaosd's own. What follows
a word such as "password" goes whatever it is. Better a word too many than one too few.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote

MASK = "********"
SHORTEST = 6  # characters; a known secret that is shorter would mask words
LONGEST = 4000  # characters of a line that are looked at; the rest is left out
_TELLING = (
    r"token|secret|passw(?:or)?d|passwd|passphrase|passcode|pwd|api[_-]?key|access[_-]?key|private[_-]?key"
    r"|account[_-]?key|auth[_-]?key|ssh[_-]?key|credential|cookie|signature|\bsig\b|\bpin\b|auth(?![a-z])"
    r"|authorization|webhook|\bdsn\b|(?<![a-z])pass(?![a-z])|(?<![a-z])pw(?![a-z])|connection[_-]?string|\bsalt\b"
)
_SECRET_NAME = re.compile(rf".*(?:{_TELLING}).*|(?:.*_)?key", re.IGNORECASE)
_BLOCK = re.compile(r"-----BEGIN [^-]*-----.*?(?:-----END [^-]*-----|\Z)", re.DOTALL)
_BLOCK_END = re.compile(r"\A.*?-----END [^-]*-----", re.DOTALL)
_HEADER = re.compile(r"\b((?:proxy-)?authorization|(?:set-)?cookie)(['\"]?\s*[:=]\s*)([^\r\n]+)", re.IGNORECASE)
_SHAPES = re.compile(
    r"\b(?:gh[opsur]_\w{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}|xox[a-z]-[\w-]{10,}|(?:AKIA|ASIA)[0-9A-Z]{16}"
    r"|sk-[\w-]{16,}|hf_\w{16,}|npm_\w{16,}|pypi-[\w-]{16,}|AIza[\w-]{30,}"
    r"|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*|[0-9a-f]{48}\b)"
)  # some that might be words; the last is what our own tokens look like, also those of notebooks that are no more
_IN_QUERY = re.compile(
    rf"((?:[?&]|%3f|%26)[\w.-]{{0,40}}(?:{_TELLING})[\w.-]{{0,40}}(?:=|%3d))[^\s&\"'<>]+", re.IGNORECASE
)
_ASSIGNED = re.compile(
    rf"((?:{_TELLING})[\w.-]{{0,40}}(?:\\?[\"']?\s*(?:=>|:=|[=:>])\s*|\\?[\"']\s*,\s*))"
    r"(\\\"[^\"\\]*\\\"|\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|(?!\s*\*{8}).+)",
    re.IGNORECASE,
)
_FOLLOWED = re.compile(
    rf"((?:\b(?:bearer|basic)|{_TELLING})s?\s+(?:(?:is|was|of|for)\s+)?)(?![=:]|{re.escape(MASK)})(\S+)",
    re.IGNORECASE,
)
_OPTION = re.compile(r"((?:^|\s)-{1,2}(?:u|p|user|proxy-user|U|a|H|header|b|d|data)[ =])\s*(\"[^\"]*\"|'[^']*'|\S+)")
_GLUED = re.compile(r"((?:^|\s)-[pPuU])(?=\S{4})[^\s-]\S*")
_QUOTED = re.compile(r"([\"'])([\w .-]{1,40})\1(\s*:\s*)(\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')")
_SET = re.compile(
    r"(?<![\w=<>!~+-])([A-Za-z_][\w.-]{0,60})(\s?:?=(?!=)\s?)(\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|[^\s&]+)"
)
_OWN = frozenset(
    """
    action address asleep at attempt build_cap build_quiet builder_image buildkit bytes cap cause changed code
    command contents count cpu daemon data data_mode data_repo deployment desktop_notices directories directory disk
    do effect engine error event file files finished_at format front gpu hint hold hooks host hosts id idle_stop job
    keep_versions kernels label level line listens_at live max_backoff memory mend method mode mtime name notebook
    notebooks number on_failure on_live outcome packages path pid plain_registry port problem project quiet reason
    registry rescan root run_on_deploy seconds service_address service_port service_type severity signal since size
    socket source stage start_within started_at state state_dir status step steps stop_grace stop_hosts_on_exit
    summary swap_when_idle text times title tone until url user verb version versions warning why workspace
    """.split()  # noqa: SIM905 - easier to read
)  # names of settings, and of what the daemon logs
_LABELLED = re.compile(
    r"\b(?:job|digest|sha256|blake3|environment|image|container|commit|version)[ :=/]+[0-9a-f]{7,64}\b"
    r"|\b[Kk]ernel(?: \w{1,20})?:? [0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"
)
_VERSION_OF = re.compile(r"[A-Za-z0-9._-]+:[0-9a-f]{7}")
_TIME = re.compile(
    r"\d{4}-\d\d-\d\d(?:T\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?)?|\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?"
)
_WORD = re.compile(
    r"[^\W\d_]{1,3}|(?:[^\W\d_]?[^\W\d_A-Z]{2,}|[A-Z]{2,}[^\W\d_A-Z]*)(?:[A-Z]+[^\W\d_A-Z]{2,}|[A-Z]{2,})*|\d{1,14}"
    r"|\d{1,6}[A-Za-zµ]{1,3}"
    r"|(?:py|python|cp|pp|utf|int|uint|float|sha|md|x|v|i|manylinux|musllinux|abi|amd|arm|aarch|ipv|http|h|s|ec|cuda|cu|rc"
    r"|base|step|line|cell|tab|col|row|kernel|cpu|gpu|core|part|page|file|test|example|chapter|nb|ctime|mtime)\d{1,4}"
    r"|h5py|x86|b2|k8s|i18n|oauth2|conda3|win32|matplotlib3"
)
_FILE = re.compile(
    r".{1,60}\.(?:py|ipynb|csv|tsv|txt|toml|json|ya?ml|md|rst|cfg|ini|log|whl|so|html|css|js|db|sqlite|parquet|npy|png|svg"
    r"|pdf|zip|gz|lock|sh|service|socket|conf)"
)
_NUMBERED = re.compile(r"[A-Za-z]{1,20}\d{1,4}")  # a file, and not a password
_ALONE = re.compile(
    r"[+-]?\d{1,14}(?:\.\d{1,9})?[A-Za-zµ%]{0,3}|true|false|yes|no|on|off|none|null|auto|\[\]|\{\}", re.IGNORECASE
)
_SPACES = re.compile(r"(\s+)")
_ATOMS = re.compile(r"(?:%[0-9A-Fa-f]{2}|[\W_])+")
_EDGE = "\"'`()[]{}<>,;:.!?|\\"


def names_a_secret(name: str) -> bool:
    """Whether a variable or key of this name holds a secret."""
    return _SECRET_NAME.fullmatch(name) is not None


class Masks:
    """Masks the secrets *known*, and all that is not known to be harmless. harmless: names that kaosd has given."""

    def __init__(self, known: Iterable[str] = (), harmless: Iterable[str] = ()) -> None:
        found = {one.strip() for one in known}
        forms = {form for one in found if len(one) >= SHORTEST for form in _forms(one)}
        self._known = sorted(forms, key=len, reverse=True)  # one may be a part of another
        self._harmless = {part for one in harmless for part in (one, *one.split("/"), *_ATOMS.split(one))}

    def text(self, text: str) -> str:
        """*text* without secrets."""
        for known in self._known:
            text = text.replace(known, MASK)
        text = _BLOCK_END.sub(MASK, _BLOCK.sub(MASK, text))
        return "\n".join(self._line(line) for line in text.split("\n"))

    def value(self, value: object) -> object:
        """A value of JSON without secrets: strings masked, and whole what stands under a secret's name."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {
                self.text(str(key)): MASK if isinstance(one, str) and names_a_secret(str(key)) else self.value(one)
                for key, one in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.value(one) for one in value]
        return value

    def _line(self, line: str) -> str:
        left_out = f" ... {len(line) - LONGEST} characters were left out" if len(line) > LONGEST else ""
        line = _HEADER.sub(rf"\1\2{MASK}", line[:LONGEST])
        line = _IN_QUERY.sub(lambda found: found[1] + MASK, line)
        line = _ASSIGNED.sub(lambda found: found[1] + _quoted(found[2]), line)
        line = _OPTION.sub(lambda found: found[1] + _quoted(found[2]), line)
        line = _GLUED.sub(rf"\1{MASK}", line)
        line = _FOLLOWED.sub(lambda found: found[1] + _masked(found[2]), line)
        line = _QUOTED.sub(
            lambda found: f"{found[1]}{found[2]}{found[1]}{found[3]}{self._assigned(found[2], found[4])}", line
        )
        line = _SET.sub(lambda found: found[1] + found[2] + self._assigned(found[1], found[3]), line)
        kept = {word for found in _LABELLED.findall(line) for word in found.split()}
        words = _SPACES.split(_SHAPES.sub(MASK, line))
        return "".join(word if word in kept or word.isspace() else self._word(word) for word in words) + left_out

    def _assigned(self, name: str, value: str) -> str:
        """A value that *name* is given."""
        bare = value.strip("\"'")
        if (
            name.lower() in _OWN
            or _ALONE.fullmatch(bare.rstrip(",;)]}"))
            or (bare.startswith("/") and self._is_path(bare))
        ):
            return value
        return value if bare in self._harmless or MASK in bare else _quoted(value)

    def _word(self, word: str) -> str:
        """What stands between two spaces."""
        core = word.strip(_EDGE)
        if not core or core in self._harmless or _TIME.fullmatch(core) or _VERSION_OF.fullmatch(core):
            return word
        begin = word.index(core)
        before, after = word[:begin], word[begin + len(core) :]
        if "://" in core:
            return before + self._address(core) + after
        person, at, _ = core.rpartition("@")
        if at and not person.endswith("/") and {":", "/"} & set(person):
            core = MASK + core[len(person) :]
        if "/" in core:
            return before + "/".join(part if self._is_plain(part) else MASK for part in core.split("/")) + after
        return word if self._is_plain(core) else before + MASK + after

    def _address(self, address: str) -> str:
        """A URL: without who is named before the host, and of its query the names only."""
        scheme, _, rest = address.partition("://")
        person, at, behind = rest.rpartition("@")
        if at and (":" in person or "/" not in person):
            rest, at = behind, f"{MASK}@"
        else:
            at = ""
        rest, hashed, _ = rest.partition("#")
        place, asked, query = rest.partition("?")
        host, slash, path = place.partition("/")
        shown = "/".join(part if self._is_plain(part) else MASK for part in path.split("/"))
        pairs = (part.partition("=") for part in query.split("&")) if asked else ()
        values = "&".join(
            f"{key if self._is_plain(key) else MASK}{sign}{self._in_query(value)}" for key, sign, value in pairs
        )
        named = scheme if self._is_plain(scheme) else MASK
        fragment = f"#{MASK}" if hashed else ""
        return f"{named}://{at}{host if self._is_plain(host) else MASK}{slash}{shown}{asked}{values}{fragment}"

    def _in_query(self, value: str) -> str:
        return value if not value or value == MASK or _ALONE.fullmatch(value) or value in self._harmless else MASK

    def _is_path(self, text: str) -> bool:
        return all(self._is_plain(part) for part in text.split("/"))

    def _is_plain(self, text: str) -> bool:
        """Whether all parts of a word are words, numbers and the like."""
        file = _FILE.fullmatch(text) is not None
        atoms = (atom for atom in _ATOMS.split(text) if atom)
        return text in self._harmless or all(self._is_atom(atom, file=file) for atom in atoms)

    def _is_atom(self, atom: str, *, file: bool) -> bool:
        if len(atom) > 24:
            return False
        return (
            _WORD.fullmatch(atom) is not None
            or atom in self._harmless
            or (file and _NUMBERED.fullmatch(atom) is not None)
        )


def _forms(secret: str) -> set[str]:
    """A secret as it may stand in a text: as it is, in an address, in JSON."""
    return {secret, quote(secret, safe=""), quote(secret), json.dumps(secret)[1:-1]}


def _quoted(value: str) -> str:
    """The mask between the quotes that *value* has."""
    opening = re.match(r"\\?[\"']", value)
    return f"{opening[0]}{MASK}{opening[0]}" if opening else MASK


def _masked(word: str) -> str:
    """The mask in the place of a word, with the punctuation behind it."""
    bare = word.rstrip(_EDGE)
    return MASK + word[len(bare) :] if bare else word
