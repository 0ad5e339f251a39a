using EphemeralFs.CsiDriver.Csi;
using EphemeralFs.CsiDriver.Grpc;
using EphemeralFs.CsiDriver.Logging;

namespace EphemeralFs.Tests.Integration.Csi;

/// <summary>A server on a socket of its own with a few methods to call.</summary>
internal sealed class GrpcRig : IAsyncDisposable
{
    private GrpcRig(string root) => Root = root;

    public string Root { get; }

    public string Socket => Path.Combine(Root, "csi.sock");

    public LogLines Log { get; } = new();

    public GrpcServer Server { get; private set; } = null!;

    public CsiClient Client => new(Socket);

    /// <summary>Calls of NodeStageVolume: its handler does as this says.</summary>
    public Func<NodeStageVolumeRequest, GrpcCall, Task<NodeStageVolumeResponse>> Stage { get; set; } = (_, _) => Task.FromResult(new NodeStageVolumeResponse());

    public static async Task<GrpcRig> StartAsync(int stopTimeoutMs = 5000, int maxRequestBytes = 4 << 20)
    {
        var rig = new GrpcRig(Directory.CreateTempSubdirectory("efs-csi-").FullName);
        rig.Server = await GrpcServer.StartAsync(
            new GrpcServerOptions
            {
                Sockets = [rig.Socket],
                StopTimeoutMs = stopTimeoutMs,
                MaxRequestBytes = maxRequestBytes,
                Completed = new CallLog(rig.Log).Completed,
            },
            [
                new GrpcService(
                    "csi.v1.Node",
                    GrpcMethod.Unary("NodeStageVolume", NodeStageVolumeRequest.Parser, (request, call) => rig.Stage(request, call)),
                    GrpcMethod.Unary("NodeGetInfo", NodeGetInfoRequest.Parser, (_, _) => Task.FromResult(new NodeGetInfoResponse { NodeId = "n1" }))),
                new GrpcService(
                    "csi.v1.Controller",
                    GrpcMethod.Unary("CreateVolume", CreateVolumeRequest.Parser, (request, _) => Task.FromResult(new CreateVolumeResponse
                    {
                        Volume = new Volume { VolumeId = request.Name, CapacityBytes = request.CapacityRange?.RequiredBytes ?? 0, VolumeContext = { request.Parameters } },
                    }))),
            ],
            rig.Log,
            CancellationToken.None);
        return rig;
    }

    public async ValueTask DisposeAsync()
    {
        await Server.DisposeAsync();
        Directory.Delete(Root, recursive: true);
    }
}
