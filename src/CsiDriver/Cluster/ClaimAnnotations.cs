using System.Net;
using System.Net.Http.Headers;
using System.Net.Security;
using System.Security.Cryptography.X509Certificates;
using System.Text.Json;
using EphemeralFs.CsiDriver.Grpc;
using EphemeralFs.Hosting;

namespace EphemeralFs.CsiDriver.Cluster;

/// <summary>
/// Hints in annotations of claims, <c>ephemeralfs.io/tier: nvme</c>. The provisioner tells which claim a volume is for (<c>--extra-create-metadata</c>), but not
/// its annotations, so the API is asked for these, with the pod's service account.
/// </summary>
/// <remarks>One GET of one object: the client library for it would be larger than the driver.</remarks>
internal sealed class ClaimAnnotations : IDisposable
{
    /// <summary>Begins the names of annotations that are hints.</summary>
    public const string Prefix = "ephemeralfs.io/";

    /// <summary>Where a pod finds its service account.</summary>
    public const string ServiceAccount = "/var/run/secrets/kubernetes.io/serviceaccount";

    private const string NameKey = "csi.storage.k8s.io/pvc/name";
    private const string NamespaceKey = "csi.storage.k8s.io/pvc/namespace";

    private const int AnswerMs = 5000;
    private const int AnswerMaxBytes = 4 << 20; // an object has 1.5 MiB at most

    private readonly HttpClient _client;
    private readonly string _token;

    /// <summary>Prepares to ask.</summary>
    /// <param name="api">The API server.</param>
    /// <param name="account">Directory with <c>token</c> and <c>ca.crt</c>.</param>
    /// <exception cref="StartupException">They cannot be read.</exception>
    public ClaimAnnotations(Uri api, string account)
    {
        _token = Path.Combine(account, "token");
        var roots = new X509Certificate2Collection();
        try
        {
            roots.ImportFromPemFile(Path.Combine(account, "ca.crt"));
            _ = File.ReadAllText(_token);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or System.Security.Cryptography.CryptographicException)
        {
            throw new StartupException($"annotations of claims are read with the pod's service account, which cannot be used: {e.Message}", e);
        }

        var policy = new X509ChainPolicy { TrustMode = X509ChainTrustMode.CustomRootTrust, RevocationMode = X509RevocationMode.NoCheck };
        policy.CustomTrustStore.AddRange(roots);
        var handler = new SocketsHttpHandler { UseProxy = false, AllowAutoRedirect = false, SslOptions = new SslClientAuthenticationOptions { CertificateChainPolicy = policy } };
        _client = new HttpClient(handler) { BaseAddress = api, Timeout = TimeSpan.FromMilliseconds(AnswerMs), MaxResponseContentBufferSize = AnswerMaxBytes };

        // Of the claim only its metadata is wanted; a server that cannot send that alone sends all of it.
        _client.DefaultRequestHeaders.Accept.ParseAdd("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1, application/json");
    }

    /// <summary>For the API server of the cluster that this pod is in.</summary>
    /// <exception cref="StartupException">This is no pod, or it has no service account.</exception>
    public static ClaimAnnotations OfThisPod()
    {
        var host = Environment.GetEnvironmentVariable("KUBERNETES_SERVICE_HOST");
        var port = Environment.GetEnvironmentVariable("KUBERNETES_SERVICE_PORT");
        return host is { Length: > 0 } && int.TryParse(port, out var number)
            ? new ClaimAnnotations(new UriBuilder("https", host, number).Uri, ServiceAccount)
            : throw StartupException.Usage("--claims: this is no pod of a Kubernetes cluster (KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set); leave it out");
    }

    /// <summary>The hints of the claim that a volume is made for; none for a volume that is made for no claim.</summary>
    /// <param name="parameters">Of CreateVolume.</param>
    /// <param name="cancellation">Ends the waiting.</param>
    /// <returns>Names without the prefix.</returns>
    /// <exception cref="GrpcException">The API server does not answer, or refuses.</exception>
    public async Task<IReadOnlyList<KeyValuePair<string, string>>> ReadAsync(IDictionary<string, string> parameters, CancellationToken cancellation)
    {
        if (!parameters.TryGetValue(NameKey, out var name) || !parameters.TryGetValue(NamespaceKey, out var space))
        {
            return [];
        }

        var claim = $"{space}/{name}";
        try
        {
            using var request = new HttpRequestMessage(
                HttpMethod.Get, $"/api/v1/namespaces/{Uri.EscapeDataString(space)}/persistentvolumeclaims/{Uri.EscapeDataString(name)}");

            // The kubelet renews the token's file.
            request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", (await File.ReadAllTextAsync(_token, cancellation).ConfigureAwait(false)).Trim());
            using var response = await _client.SendAsync(request, cancellation).ConfigureAwait(false);
            return response.StatusCode switch
            {
                HttpStatusCode.OK => Parse(await response.Content.ReadAsByteArrayAsync(cancellation).ConfigureAwait(false)),
                HttpStatusCode.NotFound => throw new GrpcException(GrpcStatusCode.Aborted, $"claim {claim} is gone"),
                HttpStatusCode.Unauthorized or HttpStatusCode.Forbidden => throw new GrpcException(
                    GrpcStatusCode.FailedPrecondition, $"claim {claim} may not be read for its annotations ({(int)response.StatusCode}): let the service account get persistentvolumeclaims, or start the driver without --claims"),
                var status => throw new GrpcException(GrpcStatusCode.Unavailable, $"claim {claim} cannot be read for its annotations: the API server says {(int)status}"),
            };
        }
        catch (Exception e) when (e is HttpRequestException or IOException or JsonException or InvalidOperationException
            || (e is OperationCanceledException && !cancellation.IsCancellationRequested))
        {
            throw new GrpcException(GrpcStatusCode.Unavailable, $"claim {claim} cannot be read for its annotations: {e.Message}");
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _client.Dispose();

    private static IReadOnlyList<KeyValuePair<string, string>> Parse(byte[] json)
    {
        using var claim = JsonDocument.Parse(json);
        return claim.RootElement.TryGetProperty("metadata"u8, out var metadata) && metadata.TryGetProperty("annotations"u8, out var annotations) && annotations.ValueKind == JsonValueKind.Object
            ? [.. annotations.EnumerateObject().Where(pair => pair.Name.StartsWith(Prefix, StringComparison.Ordinal)).Select(pair => KeyValuePair.Create(pair.Name[Prefix.Length..], pair.Value.GetString() ?? ""))]
            : [];
    }
}
