# Runs in a container of the bundle's image: adds what JupyterLab needs and is not there, and leaves a list of the files
# of the build context, by which files that the build itself made are told from those of the bundle.
# Mounted: $here (this script, context, variables), $here-uv (the program), $here-cache.
set -u
here=/kaosd-build
. $here/variables
python=$(command -v python3 || command -v python) || {
    echo "ERROR: the image has no Python; begin with FROM python:3.11, or install python3 in the Dockerfile"
    exit 2
}
"$python" -c 'import sys; sys.exit(sys.version_info[:2] < tuple(map(int, sys.argv[1].split("."))))' "$LOWEST_PYTHON" || {
    found=$("$python" -c 'import sys; sys.stdout.write(".".join(map(str, sys.version_info[:3])))')
    echo "ERROR: the image has Python $found, and a notebook can be hosted from Python $LOWEST_PYTHON on; begin with FROM python:3.11"
    exit 2
}
# The version of JupyterLab where it is too old to be hosted.
old=$("$python" - "$LOWEST_LAB" <<'END'
import importlib.metadata, re, sys
try:
    found = importlib.metadata.version("jupyterlab")
except importlib.metadata.PackageNotFoundError:
    sys.exit()
numbers = re.match(r"\d+(\.\d+)?", found)
if numbers and tuple(map(int, numbers[0].split("."))) < tuple(map(int, sys.argv[1].split("."))):
    print(found)
END
) || exit 3
[ -z "$old" ] || {
    echo "ERROR: the image has JupyterLab $old, and a notebook can be hosted from JupyterLab $LOWEST_LAB on; ask for jupyterlab>=$LOWEST_LAB, or for none: kaosd adds it"
    exit 2
}
mkdir -p /.kaosd && cp $here/context /.kaosd/context

# The names among the arguments, "package>=version", that are not installed.
missing() {
    "$python" - "$@" <<'END'
import importlib.metadata, sys
for wanted in sys.argv[1:]:
    try:
        importlib.metadata.version(wanted.partition(">=")[0])
    except importlib.metadata.PackageNotFoundError:
        print(wanted)
END
}

# uv is quick, but no program for every C library, and does not know an index that only pip is told of.
install() {
    if $here-uv --version >/dev/null 2>&1; then
        UV_CACHE_DIR=$here-cache UV_LINK_MODE=copy UV_SYSTEM_CERTS=1 UV_NATIVE_TLS=1 $here-uv pip install \
            --python "$python" --break-system-packages --compile-bytecode --no-progress --color never "$@" && return
    fi
    "$python" -m pip install --disable-pip-version-check --no-input --progress-bar off "$@"
}

needed=$(missing "jupyterlab>=4" "ipykernel>=6") || exit 3
if [ -n "$needed" ]; then
    echo "adding to the image:" $needed
    # shellcheck disable=SC2086 # a list of words
    install $needed 2>&1 || exit 4
fi
shared=$(missing "jupyter-collaboration>=4")
if [ -n "$shared" ]; then
    echo "adding to the image: $shared"
    # what the bundle has chosen stays as it is
    "$python" - >/tmp/kaosd-installed <<'END'
import importlib.metadata, re
for name in {str(one.metadata["Name"]) for one in importlib.metadata.distributions()} - {"None"}:
    version = importlib.metadata.version(name)
    if re.fullmatch("[0-9][0-9a-z.!+]*", version):
        print(f"{name}=={version}")
END
    install --constraint /tmp/kaosd-installed "$shared" 2>&1 ||
        echo "jupyter-collaboration is left out: it cannot be installed beside the requirements"
    rm -f /tmp/kaosd-installed
fi
