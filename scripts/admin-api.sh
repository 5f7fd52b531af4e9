# What scripts/rollback, scripts/release and scripts/ramp share: asking the admin API with curl alone.
# Sourced, POSIX sh. Exit codes: 0 done or already so, 1 refused or failed, 2 nobody answers, 3 partly,
# 64 not understood (EX_USAGE of sysexits.h: no word of the proxy's).

admin=${CUTOVER_ADMIN:-http://127.0.0.1:${CUTOVER_ADMIN_PORT:-8081}}
token_file=${CUTOVER_TOKEN_FILE:-state/admin.token}

fail() { # CODE SENTENCE
  printf '%s\n' "$2" >&2
  exit "$1"
}

# A text as a JSON string. Control characters become blanks.
json_text() {
  printf '"%s"' "$(printf '%s' "$1" | tr '\000-\037' ' ' | sed 's/\\/\\\\/g; s/"/\\"/g')"
}

# The first line of the token file that holds anything, without what editors leave around it.
token() {
  [ -r "$token_file" ] || fail 2 "the token file $token_file can not be read; name it with --token-file"
  token=$(sed -n '/[^[:space:]]/{s/^[[:space:]]*//;s/[[:space:]]*$//;p;q;}' "$token_file")
  case $token in '' | *[!!-~]* | *\"* | *\\*) fail 2 "$token_file holds no token" ;; esac
}

# Asks, and leaves the answer's status in $status and its body in $body. Returns 2 if nobody answers.
ask() { # METHOD PATH [BODY]
  token
  # The token comes in by stdin: arguments are for everybody on the machine to see.
  set -- "$1" "${admin%/}/api/v1$2" "${3-}" "$(printf '%s' "${CUTOVER_BY:-$(id -un 2>/dev/null)}" | tr ' ' . | tr -cd '!-~' | tr -d '"\\' | cut -c1-64)"
  answer=$({
    printf 'header = "Authorization: Bearer %s"\n' "$token"
    [ -z "$4" ] || printf 'header = "x-cutover-by: %s"\n' "$4"
  } | if [ "$1" = GET ]; then
    curl -q -sS --noproxy "*" --max-time 70 --config - -w '\n%{http_code}' "$2"
  else
    curl -q -sS --noproxy "*" --max-time 70 --config - -w '\n%{http_code}' -X "$1" \
      -H 'Content-Type: application/json' --data-binary "$3" "$2"
  fi) || return 2
  status=${answer##*
}
  body=${answer%
*}
}

# The message of a refusal; the body where it has none.
refusal() {
  message=$(printf '%s' "$body" | sed -n 's/.*"message":"\(.*\)".*/\1/p' | sed 's/","field":.*//; s/\\"/"/g')
  printf '%s' "${message:-$body}"
}

# Ends the script unless it was done. What answers like no admin API is none, whatever its status: a proxy's
# own port passes such a request on to legacy.
expect_done() { # how its answer begins
  case $status:$body in
    "200:$1"*) ;;
    4??:'{"error":{"code":"'*) fail 1 "refused: $(refusal)" ;;
    # Any other 5xx is a proxy's own port, without a service behind it.
    500:'{"error":{"code":"'*) fail 1 "it may have been done, or not: $(refusal)" ;;
    *) fail 2 "no proxy's admin API answers at $admin (status $status)" ;;
  esac
}
