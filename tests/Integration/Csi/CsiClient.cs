using System.Text.Json.Nodes;
using EphemeralFs.CsiDriver.Grpc;

namespace EphemeralFs.Tests.Integration.Csi;

/// <summary>How a call ended, as the client saw it.</summary>
/// <param name="Code">Of the call; -1 when the client could not make it.</param>
/// <param name="Message">"" when all went well.</param>
/// <param name="Response">
/// Names as in the <c>.proto</c>, 64-bit numbers as text, enums by name; values that are the default are left out. Null when the call failed.
/// </param>
internal sealed record CsiAnswer(GrpcStatusCode Code, string Message, JsonObject? Response)
{
    /// <summary>The response of a call that has to have succeeded.</summary>
    public JsonObject Ok()
    {
        Assert.True(Code == GrpcStatusCode.OK && Response is not null, $"{Code}: {Message}");
        return Response!;
    }

    /// <summary>Checks that the call failed so, with no response.</summary>
    public CsiAnswer Fails(GrpcStatusCode code)
    {
        Assert.True(Code == code, $"{code} was expected, not {Code}: {Message} {Response}");
        Assert.Null(Response);
        return this;
    }
}

/// <summary>A client of the services on one socket, for tests.</summary>
/// <param name="socket">Path of the socket.</param>
internal sealed class CsiClient(string socket)
{
    /// <summary>Calls <c>csi.v1.SERVICE/METHOD</c>, or another package's when the service has a dot.</summary>
    /// <param name="service">Such as <c>Node</c>.</param>
    /// <param name="method">Such as <c>NodePublishVolume</c>.</param>
    /// <param name="request">JSON with the names of the <c>.proto</c>, enums by name, 64-bit numbers as numbers or text.</param>
    /// <param name="deadlineMs">Sent along as the call's deadline; 0 is none.</param>
    /// <param name="authority">In place of the client's own, <c>localhost</c>.</param>
    /// <param name="metadata">Further headers.</param>
    /// <param name="cancellation">Cancels the call; its answer is then CANCELLED.</param>
    public async Task<CsiAnswer> CallAsync(
        string service,
        string method,
        string request = "{}",
        int deadlineMs = 60_000,
        string? authority = null,
        IReadOnlyDictionary<string, string>? metadata = null,
        CancellationToken cancellation = default)
    {
        var process = await CsiClientProcess.GetAsync();
        var line = new JsonObject
        {
            ["socket"] = socket,
            ["service"] = service.Contains('.', StringComparison.Ordinal) ? service : "csi.v1." + service,
            ["method"] = method,
            ["request"] = JsonNode.Parse(request),
            ["deadlineMs"] = deadlineMs,
            ["authority"] = authority,
            ["metadata"] = metadata is null ? null : new JsonObject(metadata.Select(pair => KeyValuePair.Create<string, JsonNode?>(pair.Key, pair.Value))),
        };
        var answer = await process.CallAsync(line, cancellation);
        return new CsiAnswer((GrpcStatusCode)(int)answer["code"]!, (string?)answer["message"] ?? "", answer["response"]?.DeepClone().AsObject());
    }
}
