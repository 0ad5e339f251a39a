using EphemeralFs.CsiDriver.Csi;
using EphemeralFs.CsiDriver.Grpc;
using EphemeralFs.CsiDriver.Logging;
using Google.Protobuf;
using Microsoft.Extensions.Logging;

namespace EphemeralFs.Tests.Integration.Csi;

/// <summary>The line of a call, and that no secret is ever in one.</summary>
public sealed class CallLogTests
{
    private const string Secret = "hunter2-šecret", Token = "eyJhbGciOi.token";

    [Fact]
    public void Every_request_of_csi_that_has_secrets_is_logged_without_them()
    {
        var withSecrets = CsiReflection.Descriptor.MessageTypes.Where(type => type.FindFieldByName("secrets") is not null).ToArray();
        Assert.Equal(19, withSecrets.Length);
        foreach (var type in withSecrets)
        {
            // Written as bytes, as a client does, so that nothing here knows how the secrets are found.
            var field = type.FindFieldByName("secrets");
            Assert.True(field.IsMap, type.FullName);
            var message = type.Parser.ParseFrom(MapEntry(field.FieldNumber, "password", Secret));
            Assert.Contains(Secret, message.ToString()!, StringComparison.Ordinal);
            foreach (var code in new[] { GrpcStatusCode.OK, GrpcStatusCode.NotFound, GrpcStatusCode.Internal })
            {
                var log = Write(message, code, code == GrpcStatusCode.OK ? "" : $"the password {Secret} is wrong", new InvalidOperationException($"bad {Secret}", new IOException(Secret)));
                var (_, text) = Assert.Single(log.Lines);
                Assert.DoesNotContain(Secret, text, StringComparison.Ordinal);
                Assert.Contains("\"password\": \"***stripped***\"", text, StringComparison.Ordinal);
            }
        }
    }

    [Fact]
    public void Tokens_of_service_accounts_are_secret_in_any_context()
    {
        var request = new NodePublishVolumeRequest
        {
            VolumeId = "v1",
            VolumeContext = { ["csi.storage.k8s.io/serviceAccount.tokens"] = Token, ["csi.storage.k8s.io/pod.name"] = "p1" },
            PublishContext = { ["csi.storage.k8s.io/serviceAccount.tokens/x"] = Token + "2" },
            VolumeCapability = new VolumeCapability { Mount = new VolumeCapability.Types.MountVolume { MountFlags = { "noatime" } } },
        };
        var (_, text) = Assert.Single(Write(request, GrpcStatusCode.Internal, Token, new InvalidOperationException(Token)).Lines);
        Assert.DoesNotContain(Token, text, StringComparison.Ordinal);
        Assert.Contains("\"csi.storage.k8s.io/pod.name\": \"p1\"", text, StringComparison.Ordinal);
        Assert.Contains("noatime", text, StringComparison.Ordinal);
        Assert.Equal(Token, request.VolumeContext["csi.storage.k8s.io/serviceAccount.tokens"]); // the request itself is the handler's
    }

    [Fact]
    public void Secrets_are_found_at_any_depth_and_what_is_unknown_is_not_printed()
    {
        // The messages of csi have them at the top only; these are what a later version might have.
        var secret = new CreateVolumeRequest { Name = "deep", Secrets = { ["k"] = Secret } };
        var wrapped = new Deep { One = secret.Clone(), Many = { secret.Clone(), new CreateVolumeRequest() }, Named = { ["n"] = secret.Clone() }, Secrets = Secret, Plain = "kept" };
        var (_, text) = Assert.Single(Write(wrapped, GrpcStatusCode.OK, "", null).Lines);
        Assert.DoesNotContain(Secret, text, StringComparison.Ordinal);
        Assert.Equal(4, text.Split(" | ")[0].Split(SecretFields.Stripped).Length - 1);
        Assert.Contains("\"plain\": \"kept\"", text, StringComparison.Ordinal);

        var newer = CreateVolumeRequest.Parser.ParseFrom([.. Field(1, "v1"), .. Field(99, Secret)]);
        (_, text) = Assert.Single(Write(newer, GrpcStatusCode.OK, "", null).Lines);
        Assert.DoesNotContain(Secret, text, StringComparison.Ordinal);
        Assert.Contains("\"v1\"", text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("csi.v1.Identity/Probe", GrpcStatusCode.OK, LogLevel.Debug)]
    [InlineData("csi.v1.Identity/GetPluginCapabilities", GrpcStatusCode.OK, LogLevel.Debug)]
    [InlineData("csi.v1.Controller/ControllerGetCapabilities", GrpcStatusCode.OK, LogLevel.Debug)]
    [InlineData("csi.v1.GroupController/GroupControllerGetCapabilities", GrpcStatusCode.OK, LogLevel.Debug)]
    [InlineData("csi.v1.Node/NodeGetCapabilities", GrpcStatusCode.OK, LogLevel.Debug)]
    [InlineData("csi.v1.Node/NodeGetVolumeStats", GrpcStatusCode.OK, LogLevel.Debug)]
    [InlineData("csi.v1.Node/NodePublishVolume", GrpcStatusCode.OK, LogLevel.Information)]
    [InlineData("csi.v1.Identity/Probe", GrpcStatusCode.FailedPrecondition, LogLevel.Warning)]
    [InlineData("csi.v1.Node/NodePublishVolume", GrpcStatusCode.Aborted, LogLevel.Warning)]
    [InlineData("csi.v1.Node/NodeGetVolumeStats", GrpcStatusCode.Internal, LogLevel.Error)]
    public void The_level_belongs_to_the_method_and_the_code(string method, GrpcStatusCode code, LogLevel level)
    {
        var log = Write(new ProbeRequest(), code, "", null, method);
        var line = Assert.Single(log.Lines);
        Assert.Equal(level, line.Level);
        Assert.StartsWith($"{method} {code} 1.5 ms {{ }}", line.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_call_over_the_wire_is_one_line_without_its_secrets()
    {
        await using var rig = await GrpcRig.StartAsync();
        rig.Stage = (request, _) => throw new InvalidOperationException($"cannot open with {request.Secrets["key"]}");
        (await rig.Client.CallAsync("Node", "NodeStageVolume", $$$"""{"volume_id": "v\n1", "secrets": {"key": "{{{Secret}}}"}}""")).Fails(GrpcStatusCode.Internal);
        (await rig.Client.CallAsync("Controller", "CreateVolume", $$$"""{"name": "v2", "secrets": {"key": "{{{Secret}}}"}}""")).Ok();
        Assert.Equal([LogLevel.Error, LogLevel.Information], rig.Log.Lines.Select(line => line.Level));
        Assert.All(rig.Log.Lines, line => Assert.DoesNotContain(Secret, line.Text, StringComparison.Ordinal));
        Assert.Contains("""{ "name": "v2", "secrets": { "key": "***stripped***" } }""", rig.Log.Lines[1].Text, StringComparison.Ordinal);
        Assert.Contains("""{ "volume_id": "v\n1", """, rig.Log.Lines[0].Text, StringComparison.Ordinal);
    }

    private static LogLines Write(IMessage request, GrpcStatusCode code, string message, Exception? error, string method = "csi.v1.Node/NodePublishVolume")
    {
        var log = new LogLines();
        new CallLog(log).Completed(new GrpcCallReport(method, request, code, message, TimeSpan.FromMilliseconds(1.5), error));
        return log;
    }

    private static byte[] MapEntry(int field, string key, string value) => Field(field, [.. Field(1, key), .. Field(2, value)]);

    private static byte[] Field(int field, string value) => Field(field, System.Text.Encoding.UTF8.GetBytes(value));

    private static byte[] Field(int field, byte[] value) => [.. Varint((field << 3) | 2), .. Varint(value.Length), .. value];

    private static byte[] Varint(int value) => value < 128 ? [(byte)value] : [(byte)(value | 128), .. Varint(value >> 7)];
}
