namespace EphemeralFs.CsiDriver.Grpc;

/// <summary>Ends a call with a status that the handler chose. Anything else that a handler throws is INTERNAL.</summary>
public sealed class GrpcException : Exception
{
    /// <summary>A failed call.</summary>
    /// <param name="code">Anything but OK.</param>
    /// <param name="message">For the person who reads the event of the pod or of the claim: what is wrong and what to do. Never a secret.</param>
    public GrpcException(GrpcStatusCode code, string message)
        : this(code, message, null)
    {
    }

    /// <summary>A failed call with its cause, which is for the log only.</summary>
    public GrpcException(GrpcStatusCode code, string message, Exception? inner)
        : base(message, inner)
    {
        ArgumentOutOfRangeException.ThrowIfEqual(code, GrpcStatusCode.OK);
        Code = code;
    }

    /// <summary>The status of the call.</summary>
    public GrpcStatusCode Code { get; }
}
