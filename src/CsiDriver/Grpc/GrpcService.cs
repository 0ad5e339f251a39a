using System.Collections.Frozen;
using System.Diagnostics.CodeAnalysis;
using Google.Protobuf;

namespace EphemeralFs.CsiDriver.Grpc;

/// <summary>A service and its table of methods. What is not in the table is UNIMPLEMENTED.</summary>
public sealed class GrpcService
{
    private readonly FrozenDictionary<string, GrpcMethod> _methods;

    /// <summary>A service.</summary>
    /// <param name="name">With its package: <c>csi.v1.Identity</c>.</param>
    /// <param name="methods">Each name once.</param>
    public GrpcService(string name, params IReadOnlyList<GrpcMethod> methods)
    {
        Name = name;
        _methods = methods.ToFrozenDictionary(method => method.Name, StringComparer.Ordinal);
    }

    /// <summary>With its package.</summary>
    public string Name { get; }

    internal bool TryGet(string method, [NotNullWhen(true)] out GrpcMethod? found) => _methods.TryGetValue(method, out found);
}

/// <summary>One row of a service: a unary method, how its request is read and who answers it.</summary>
public sealed class GrpcMethod
{
    private GrpcMethod(string name, MessageParser parser, Func<IMessage, GrpcCall, Task<IMessage>> handler)
    {
        Name = name;
        Parser = parser;
        Handler = handler;
    }

    /// <summary>Such as <c>Probe</c>.</summary>
    public string Name { get; }

    internal MessageParser Parser { get; }

    internal Func<IMessage, GrpcCall, Task<IMessage>> Handler { get; }

    /// <summary>A row.</summary>
    /// <param name="name">As in the <c>.proto</c>.</param>
    /// <param name="parser">Of the request.</param>
    /// <param name="handler">Answers it; throws <see cref="GrpcException"/> to fail the call. Runs on a pool thread.</param>
    public static GrpcMethod Unary<TRequest, TResponse>(string name, MessageParser<TRequest> parser, Func<TRequest, GrpcCall, Task<TResponse>> handler)
        where TRequest : IMessage<TRequest>
        where TResponse : IMessage<TResponse> =>
        new(name, parser, async (request, call) => await handler((TRequest)request, call).ConfigureAwait(false));
}
