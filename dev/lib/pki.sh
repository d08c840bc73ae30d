# shellcheck shell=bash
# Creates the keys and certificates of one cluster with openssl.

# create_pki: writes them to $DIR/pki.
create_pki() {
  local pki=$DIR/pki
  mkdir -p "$pki"
  certificate "$pki/ca" '/CN=anon-dev' \
    'basicConstraints = critical, CA:TRUE' 'keyUsage = critical, keyCertSign, digitalSignature'
  # clientAuth too, because etcd's internal gateway uses this certificate as a
  # client of etcd.
  signed_certificate "$pki/server" '/CN=kube-apiserver' \
    "subjectAltName = IP:127.0.0.1, IP:10.0.0.1, IP:$NODE_ADDRESS, DNS:localhost, DNS:kubernetes.default.svc" \
    'extendedKeyUsage = serverAuth, clientAuth'
  signed_certificate "$pki/admin" '/O=system:masters/CN=admin' 'extendedKeyUsage = clientAuth'
  signed_certificate "$pki/controller-manager" '/CN=system:kube-controller-manager' \
    'extendedKeyUsage = clientAuth'
  # Signs the ServiceAccount tokens.
  openssl_quietly genrsa -out "$pki/sa.key" 2048
  openssl_quietly rsa -in "$pki/sa.key" -pubout -out "$pki/sa.pub"
}

# signed_certificate FILE SUBJECT EXTENSION…: signed by the cluster's CA.
signed_certificate() {
  certificate "$@" 'basicConstraints = critical, CA:FALSE' \
    --signed-by "$DIR/pki/ca"
}

# certificate FILE SUBJECT EXTENSION… [--signed-by FILE]: writes FILE.key and
# FILE.crt.
certificate() {
  local file=$1 subject=$2 options=()
  shift 2
  while (($#)); do
    case $1 in
      --signed-by)
        options+=(-CA "$2.crt" -CAkey "$2.key")
        shift
        ;;
      *) options+=(-addext "$1") ;;
    esac
    shift
  done
  # An explicit configuration, because the system's would add extensions.
  openssl_quietly req -x509 -config <(printf '[req]\ndistinguished_name = dn\n[dn]\n') \
    -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -days 3650 \
    -subj "$subject" "${options[@]}" -keyout "$file.key" -out "$file.crt"
}

# openssl_quietly ARGUMENT…: prints the output of openssl only if it fails, since
# openssl also reports its progress on stderr.
openssl_quietly() {
  local output
  output=$(openssl "$@" 2>&1) || die "openssl $1: $output"
}

# kubeconfig USER CREDENTIALS…: prints a self-contained kubeconfig, which can be
# copied elsewhere. The credentials are lines of its `user`.
kubeconfig() {
  local user=$1
  shift
  cat <<EOF
apiVersion: v1
kind: Config
current-context: anon-dev
contexts:
  - name: anon-dev
    context: {cluster: anon-dev, user: $user}
clusters:
  - name: anon-dev
    cluster:
      server: https://$API_HOST:$API_PORT
      certificate-authority-data: $(base64 -w0 "$DIR/pki/ca.crt")
users:
  - name: $user
    user:
$(printf '      %s\n' "$@")
EOF
}

# kubeconfig_of USER: the same, with the client certificate from $DIR/pki.
kubeconfig_of() {
  kubeconfig "$1" \
    "client-certificate-data: $(base64 -w0 "$DIR/pki/$1.crt")" \
    "client-key-data: $(base64 -w0 "$DIR/pki/$1.key")"
}

# write_private FILE: writes standard input to a file that only its owner can read.
write_private() { install -m 600 /dev/stdin "$1"; }
