using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Rpc;

/// <summary>What a controller lists page by page, whole.</summary>
public static class ControllerLists
{
    /// <summary>All volumes, by name. One that comes or goes meanwhile may be in the list or not.</summary>
    /// <param name="controller">The controller.</param>
    /// <param name="known">What is known, for people to look at, while there may be others; otherwise that is <see cref="Status.Unavailable"/>.</param>
    /// <param name="timeoutMs">Milliseconds for each page.</param>
    /// <param name="cancellation">Ends the waiting.</param>
    public static async Task<RpcResult<GetVolumesReply>> ListVolumesAsync(
        this RpcClient controller, bool known = false, int timeoutMs = Limits.RequestDeadlineMs, CancellationToken cancellation = default)
    {
        var volumes = new List<VolumeStatus>();
        while (true)
        {
            var page = await controller.CallAsync<GetVolumesRequest, GetVolumesReply>(
                new("", volumes.Count == 0 ? "" : volumes[^1].Name, known), timeoutMs: timeoutMs, cancellation: cancellation).ConfigureAwait(false);
            if (!page.IsOk)
            {
                return page;
            }

            volumes.AddRange(page.Value.Volumes);
            if (page.Value.End)
            {
                return page with { Value = new([.. volumes], End: true) };
            }
        }
    }

    /// <summary>All servers, by role and id, the controller first.</summary>
    /// <param name="controller">The controller.</param>
    /// <param name="only">Of this role; None for all. A view with nodes has all their mounts.</param>
    /// <param name="timeoutMs">Milliseconds for each page.</param>
    /// <param name="cancellation">Ends the waiting.</param>
    public static async Task<RpcResult<GetViewReply>> ListServersAsync(
        this RpcClient controller, ServerRole only = ServerRole.None, int timeoutMs = Limits.RequestDeadlineMs, CancellationToken cancellation = default)
    {
        var servers = new List<ServerStatus>();
        while (true)
        {
            var last = servers.Count == 0 ? default : servers[^1];
            var page = await controller.CallAsync<GetViewRequest, GetViewReply>(
                new(last.Role, last.Id, only), timeoutMs: timeoutMs, cancellation: cancellation).ConfigureAwait(false);
            if (!page.IsOk)
            {
                return page;
            }

            servers.AddRange(page.Value.Servers);
            if (page.Value.End)
            {
                return page with { Value = new([.. servers], End: true) };
            }
        }
    }
}
