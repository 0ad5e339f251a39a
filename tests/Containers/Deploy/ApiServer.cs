using System.Globalization;
using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using EphemeralFs.Tests.Containers.Kubernetes;
using EphemeralFs.Tests.Mount;
using k8s;
using k8s.Models;

namespace EphemeralFs.Tests.Containers.Deploy;

/// <summary>As much of an API server as our pods ask for: claims, by their names, for who has the token of a service account.</summary>
internal sealed class ApiServer : IDisposable
{
    public const string Address = "127.0.3.1";
    public const int Port = 443;

    /// <summary>Longer than all tests together.</summary>
    private const int Seconds = 1200;

    private const string Program = """
        import http.server, ssl, sys
        address, port, certificate, token = sys.argv[1:]
        class Handler(http.server.SimpleHTTPRequestHandler):
            def do_GET(self):
                if self.headers['Authorization'] == 'Bearer ' + token:
                    super().do_GET()
                else:
                    self.send_error(401)
        server = http.server.ThreadingHTTPServer((address, int(port)), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        print('ready', flush=True)
        server.serve_forever()
        """;

    private readonly string claims;
    private readonly Command.Running server;

    /// <param name="machine">Where it runs.</param>
    /// <param name="directory">An empty one, for what it has.</param>
    public ApiServer(Machine machine, string directory)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=kubernetes", key, HashAlgorithmName.SHA256);
        var names = new SubjectAlternativeNameBuilder();
        names.AddIpAddress(IPAddress.Parse(Address));
        request.CertificateExtensions.Add(names.Build());
        using var certificate = request.CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(1));
        Certificate = certificate.ExportCertificatePem();
        string secret = Path.Combine(directory, "secret.pem"), root = Path.Combine(directory, "root");
        File.WriteAllText(secret, Certificate + "\n" + key.ExportPkcs8PrivateKeyPem());
        claims = Directory.CreateDirectory(Path.Combine(root, "api", "v1", "namespaces", Pod.Namespace, "persistentvolumeclaims")).FullName;
        server = machine.Command(
            Seconds, "/bin/sh", "-c", "cd \"$1\" && shift && exec \"$@\"", "in", root,
            Tool.Python, "-c", Program, Address, Port.ToString(CultureInfo.InvariantCulture), secret, Token).Start();
        server.WaitForOutput("ready");
    }

    /// <summary>What its clients trust: itself.</summary>
    public string Certificate { get; }

    public string Token { get; } = Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(16));

    public void Add(V1PersistentVolumeClaim claim) => File.WriteAllText(Path.Combine(claims, claim.Metadata.Name), KubernetesJson.Serialize(claim));

    public void Dispose() => server.Dispose();
}
