using System.Collections.Concurrent;
using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text.Json.Nodes;
using EphemeralFs.Core;
using EphemeralFs.CsiDriver.Cluster;
using EphemeralFs.CsiDriver.Grpc;
using EphemeralFs.CsiDriver.Service;
using EphemeralFs.Hosting;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using Endpoint = EphemeralFs.Rpc.Endpoint;

namespace EphemeralFs.Tests.Integration.Csi;

/// <summary>Hints in annotations of claims, from the call of the provisioner to what the cluster's controller is asked for, with an API server of the test's own.</summary>
public sealed class ClaimAnnotationsTests : IAsyncLifetime, IRpcHandler
{
    private const string Call = """
        {"name": "pvc-1", "volume_capabilities": [{"mount": {}, "access_mode": {"mode": "MULTI_NODE_MULTI_WRITER"}}], "capacity_range": {"required_bytes": 1073741824},
         "parameters": {"tier": "hdd", "copies": "2", "csi.storage.k8s.io/pvc/name": "data", "csi.storage.k8s.io/pvc/namespace": "team a", "csi.storage.k8s.io/pv/name": "pvc-1"}}
        """;

    private readonly string _root = Directory.CreateTempSubdirectory("efs-claims-").FullName;
    private readonly List<string> _asked = [];
    private readonly ConcurrentDictionary<string, VolumeStatus> _volumes = new(StringComparer.Ordinal);
    private WebApplication _api = null!;
    private RpcServer _controller = null!;
    private ControllerClient _cluster = null!;
    private ClaimAnnotations _claims = null!;
    private GrpcServer _driver = null!;
    private AddVolumeRequest _made;
    private Func<HttpContext, Task> _answer = null!;

    public async Task InitializeAsync()
    {
        var (authority, server) = Certificates("127.0.0.1");
        File.WriteAllText(Path.Combine(_root, "ca.crt"), authority.ExportCertificatePem());
        File.WriteAllText(Path.Combine(_root, "token"), "first\n");
        _answer = context => Says(context, """{"metadata": {"annotations": {"ephemeralfs.io/tier": "nvme", "example.org/tier": "tape"}}}""");
        _api = await StartApiAsync(server);
        _claims = new ClaimAnnotations(new Uri(_api.Urls.Single()), _root);
        _controller = new RpcServer(Endpoint.Unix(Path.Combine(_root, "c")), this);
        _controller.Start();
        _cluster = new ControllerClient(_controller.Endpoint);
        _driver = await GrpcServer.StartAsync(
            new GrpcServerOptions { Sockets = [Path.Combine(_root, "csi.sock")] }, [new ControllerService(_cluster, _claims, TimeSpan.FromHours(1)).Describe()], new LogLines(), CancellationToken.None);
    }

    public async Task DisposeAsync()
    {
        await _driver.DisposeAsync();
        _claims.Dispose();
        _cluster.Dispose();
        _controller.Dispose();
        await _api.DisposeAsync();
        Directory.Delete(_root, recursive: true);
    }

    [Fact]
    public async Task They_count_more_than_the_class_and_only_ours_count()
    {
        (await CreateAsync(Call)).Ok();
        Assert.Equal(["GET /api/v1/namespaces/team%20a/persistentvolumeclaims/data Bearer first"], _asked);
        Assert.Equal(VolumeHints.Parse("tier=nvme,copies=2"), VolumeHints.Parse(_made.Hints));
        Assert.Equal(1UL << 30, _made.LimitBytes);
    }

    [Fact]
    public async Task A_volume_for_no_claim_asks_nobody()
    {
        (await CreateAsync(Call.Replace("pvc/name", "pvc/other", StringComparison.Ordinal))).Ok();
        Assert.Empty(_asked);
        Assert.Equal(VolumeHints.Parse("tier=hdd,copies=2"), VolumeHints.Parse(_made.Hints));
    }

    [Theory]
    [InlineData("""{"metadata": {}}""")]
    [InlineData("""{"metadata": {"annotations": null}}""")]
    [InlineData("""{}""")]
    public async Task A_claim_without_any_is_like_its_class(string claim)
    {
        _answer = context => Says(context, claim);
        (await CreateAsync(Call)).Ok();
        Assert.Equal(VolumeHints.Parse("tier=hdd,copies=2"), VolumeHints.Parse(_made.Hints));
    }

    [Theory]
    [InlineData("teir", "nvme", "teir")]
    [InlineData("tier", "tape", "tier")]
    [InlineData("size", "1Gi", "spec.resources.requests.storage")]
    public async Task A_bad_one_is_named_and_nothing_is_made(string key, string value, string named)
    {
        _answer = context => Says(context, $$$$"""{"metadata": {"annotations": {"ephemeralfs.io/{{{{key}}}}": "{{{{value}}}}"}}}""");
        var answer = (await CreateAsync(Call)).Fails(GrpcStatusCode.InvalidArgument);
        Assert.Contains(named, answer.Message, StringComparison.Ordinal);
        Assert.Contains("annotation", answer.Message, StringComparison.Ordinal);
        Assert.Equal(default, _made);
    }

    [Theory]
    [InlineData(403, GrpcStatusCode.FailedPrecondition)]
    [InlineData(401, GrpcStatusCode.FailedPrecondition)]
    [InlineData(404, GrpcStatusCode.Aborted)]
    [InlineData(500, GrpcStatusCode.Unavailable)]
    [InlineData(302, GrpcStatusCode.Unavailable)]
    public async Task What_the_server_refuses_is_told(int status, GrpcStatusCode code)
    {
        _answer = context =>
        {
            context.Response.StatusCode = status;
            context.Response.Headers.Location = "/elsewhere"; // the token is not sent anywhere else
            return Task.CompletedTask;
        };
        Assert.Contains("team a/data", (await CreateAsync(Call)).Fails(code).Message, StringComparison.Ordinal);
        Assert.Single(_asked);
        Assert.Equal(default, _made);
    }

    [Theory]
    [InlineData("<html>")]
    [InlineData("""{"metadata": {"annotations": {"ephemeralfs.io/tier": 7}}}""")]
    [InlineData("[]")]
    public async Task What_is_no_claim_is_told(string body)
    {
        _answer = context => Says(context, body);
        (await CreateAsync(Call)).Fails(GrpcStatusCode.Unavailable);
        Assert.Equal(default, _made);
    }

    [Fact]
    public async Task A_renewed_token_is_used_and_a_dead_server_is_told()
    {
        (await CreateAsync(Call)).Ok();
        File.WriteAllText(Path.Combine(_root, "token"), "second");
        (await CreateAsync(Call.Replace("pvc-1", "pvc-2", StringComparison.Ordinal))).Ok();
        Assert.Equal(["Bearer first", "Bearer second"], _asked.Select(line => string.Join(' ', line.Split(' ')[^2..])));
        await _api.StopAsync();
        (await CreateAsync(Call.Replace("pvc-1", "pvc-3", StringComparison.Ordinal))).Fails(GrpcStatusCode.Unavailable);
    }

    [Theory]
    [InlineData(404, "")]
    [InlineData(500, "")]
    [InlineData(200, """{"metadata": {"annotations": {"ephemeralfs.io/tier": "ssd", "ephemeralfs.io/copies": "1"}}}""")]
    [InlineData(200, """{"metadata": {"annotations": {"ephemeralfs.io/teir": "typing"}}}""")]
    public async Task A_call_that_comes_again_needs_no_claim_and_finds_what_was_made_by_the_first(int status, string claim)
    {
        var made = (await CreateAsync(Call)).Ok();
        Assert.Single(_asked);
        _answer = context =>
        {
            context.Response.StatusCode = status;
            return Says(context, claim);
        };
        Assert.True(JsonNode.DeepEquals(made, (await CreateAsync(Call)).Ok()));
        Assert.Single(_asked);
        Assert.Equal(VolumeHints.Parse("tier=nvme,copies=2"), VolumeHints.Parse(Assert.Single(_volumes).Value.Hints));

        // It is another call when the class says something else, whatever the claim says.
        (await CreateAsync(Call.Replace("\"copies\": \"2\"", "\"copies\": \"1\"", StringComparison.Ordinal))).Fails(GrpcStatusCode.AlreadyExists);
        (await CreateAsync(Call.Replace("1073741824", "1073741825", StringComparison.Ordinal))).Fails(GrpcStatusCode.AlreadyExists);
        Assert.Single(_volumes);
    }

    [Fact]
    public async Task A_server_that_the_account_does_not_vouch_for_gets_no_token()
    {
        await using var other = await StartApiAsync(Certificates("127.0.0.1").Server);
        using var claims = new ClaimAnnotations(new Uri(other.Urls.Single()), _root);
        var parameters = new Dictionary<string, string> { ["csi.storage.k8s.io/pvc/name"] = "data", ["csi.storage.k8s.io/pvc/namespace"] = "a" };
        await Assert.ThrowsAsync<GrpcException>(() => claims.ReadAsync(parameters, CancellationToken.None));
        Assert.Empty(_asked);
    }

    [Fact]
    public void Without_a_service_account_nothing_starts()
    {
        string empty = Directory.CreateDirectory(Path.Combine(_root, "empty")).FullName;
        Assert.Contains("ca.crt", Assert.Throws<StartupException>(() => new ClaimAnnotations(new Uri("https://127.0.0.1:1"), empty)).Message, StringComparison.Ordinal);
        Assert.Equal(ExitCodes.Usage, Assert.Throws<StartupException>(ClaimAnnotations.OfThisPod).ExitCode);
    }

    void IRpcHandler.OnRequest(in RpcCall call, ReadOnlyMemory<byte> head, PooledBuffer? body)
    {
        body?.Dispose();
        switch (call.Header.Opcode)
        {
            case Opcode.GetVolumes when RpcCall.TryRead(head, out GetVolumesRequest asked):
                call.Reply(new GetVolumesReply(_volumes.TryGetValue(asked.Name, out var known) ? [known] : [], End: true));
                break;
            case Opcode.AddVolume when RpcCall.TryRead(head, out AddVolumeRequest request):
                _made = request;
                call.Reply(_volumes.GetOrAdd(request.Name, name => new VolumeStatus(7, name, "", request.LimitBytes, 0, request.LimitInodes, 0, 0, request.Hints, request.Labels, request.Source)));
                break;
            default:
                call.Fail(Status.UnknownOpcode);
                break;
        }
    }

    void IRpcHandler.OnDisconnected(RpcPeer peer)
    {
    }

    private static Task Says(HttpContext context, string body)
    {
        context.Response.ContentType = "application/json";
        return context.Response.WriteAsync(body);
    }

    /// <summary>An authority, and a server's certificate of it.</summary>
    private static (X509Certificate2 Authority, X509Certificate2 Server) Certificates(string address)
    {
        using var rootKey = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var root = new CertificateRequest("CN=test authority", rootKey, HashAlgorithmName.SHA256);
        root.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, false, 0, true));
        var authority = root.CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(1));

        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var leaf = new CertificateRequest("CN=test server", key, HashAlgorithmName.SHA256);
        var names = new SubjectAlternativeNameBuilder();
        names.AddIpAddress(IPAddress.Parse(address));
        leaf.CertificateExtensions.Add(names.Build());
        using var signed = leaf.Create(authority, authority.NotBefore, authority.NotAfter, [1]);
        return (authority, signed.CopyWithPrivateKey(key));
    }

    private Task<CsiAnswer> CreateAsync(string call) => new CsiClient(_driver.Sockets[0]).CallAsync("Controller", "CreateVolume", call);

    private async Task<WebApplication> StartApiAsync(X509Certificate2 certificate)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseKestrelHttpsConfiguration();
        builder.WebHost.ConfigureKestrel(options => options.Listen(IPAddress.Loopback, 0, listen => listen.UseHttps(certificate)));
        var api = builder.Build();
        api.Run(context =>
        {
            lock (_asked)
            {
                _asked.Add($"{context.Request.Method} {context.Features.Get<Microsoft.AspNetCore.Http.Features.IHttpRequestFeature>()!.RawTarget} {context.Request.Headers.Authorization}");
            }

            return _answer(context);
        });
        await api.StartAsync();
        return api;
    }
}
